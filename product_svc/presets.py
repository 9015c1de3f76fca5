"""The product files of other shop systems, as data. All titles are in lower case."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Preset:
    """How a shop system writes its products.

    ``titles``: for each column its possible titles; the first one that the file has is taken. ``instead``: of these
    columns, the first one that has a value in the row. ``recognised``: sets of
    titles; a file that has all of one set is of this system. ``kind``: titles of the column with the kind of a row;
    rows of the kinds in ``no_product``, and rows with a value in ``translated``, are no products of their own.

    A row with a value in a column of ``parent`` belongs to the row that has this value, after a prefix, in a column of
    ``known_by``. It takes from it the name, category and description that it lacks, and values of ``options`` are
    appended to a name that is only the parent's. ``continues``: whether the parent is the last row with a name. If it
    is not, a row without its parent above it is rejected.

    ``escaped``: whether line ends in descriptions are written as ``\\n``, and commas in lists as ``\\,``.
    ``apostrophes``: whether a sku of digits has an apostrophe in front, so that spreadsheets keep its zeros.
    """

    system: str
    titles: Mapping[str, tuple[str, ...]]
    recognised: tuple[frozenset[str], ...] = ()
    kind: tuple[str, ...] = ()
    no_product: frozenset[str] = frozenset()
    translated: tuple[str, ...] = ()
    parent: tuple[str, ...] = ()
    known_by: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    continues: bool = False
    escaped: bool = False
    apostrophes: bool = False
    instead: tuple[str, ...] = ("category", "description")

    @property
    def others(self) -> frozenset[str]:
        """The titles that matter besides those of the columns."""
        instead = (title for column in self.instead for title in self.titles[column][1:])
        return frozenset({*self.kind, *self.translated, *self.parent, *self.known_by, *self.options, *instead})


NO_OPTION = "Default Title"
"""Shopify's option of a product without variants."""
PRESETS: Mapping[str, Preset] = {
    "shopify": Preset(
        system="Shopify",
        titles={
            "sku": ("variant sku", "sku"),
            "name": ("title",),
            "price": ("variant price", "price"),
            "stock": ("variant inventory qty", "inventory quantity"),
            "category": ("type", "product category"),
            "description": ("body (html)", "body html", "description"),
        },
        recognised=(
            frozenset({"handle", "title", "variant sku", "variant price"}),
            frozenset({"url handle", "title", "option1 value", "price"}),
        ),
        parent=("handle", "url handle"),
        known_by={"handle": "", "url handle": ""},
        options=("option1 value", "option2 value", "option3 value"),
        continues=True,
        apostrophes=True,
    ),
    "woocommerce": Preset(
        system="WooCommerce",
        titles={
            "sku": ("sku",),
            "name": ("name",),
            "price": ("regular price",),
            "stock": ("stock",),
            "category": ("categories",),
            "description": ("description", "short description"),
        },
        recognised=(frozenset({"type", "sku", "name", "regular price", "categories"}),),
        kind=("type",),
        no_product=frozenset({"variable", "grouped"}),
        parent=("parent",),
        known_by={"sku": "", "id": "id:"},
        options=tuple(f"attribute {number} value(s)" for number in range(1, 6)),
        escaped=True,
    ),
    "magento": Preset(
        system="Magento",
        titles={
            "sku": ("sku",),
            "name": ("name",),
            "price": ("price",),
            "stock": ("qty",),
            "category": ("categories",),
            "description": ("description", "short_description"),
        },
        kind=("product_type",),
        no_product=frozenset({"configurable", "grouped", "bundle"}),
        translated=("store_view_code",),
    ),
    "bigcommerce": Preset(
        system="BigCommerce",
        titles={
            "sku": ("product code/sku", "sku"),
            "name": ("product name", "name"),
            "price": ("price",),
            "stock": ("current stock level", "current stock"),
            "category": ("category", "categories"),
            "description": ("product description", "description"),
        },
        kind=("item type", "item"),
        no_product=frozenset({"rule", "image", "video"}),
    ),
    "google": Preset(
        system="Google Merchant Center",
        titles={
            "sku": ("id",),
            "name": ("title",),
            "price": ("price",),
            "stock": ("sell_on_google_quantity", "sell on google quantity", "quantity"),
            "category": ("product_type", "product type", "google_product_category", "google product category"),
            "description": ("description",),
        },
    ),
}
TITLES = frozenset(title for preset in PRESETS.values() for titles in preset.titles.values() for title in titles)


def recognise(titles: Collection[str]) -> Preset | None:
    """The preset for a file with these titles, or None."""
    there = {title.lower() for title in titles}
    return next((each for each in PRESETS.values() if any(all_of <= there for all_of in each.recognised)), None)
