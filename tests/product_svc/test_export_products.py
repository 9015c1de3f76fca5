"""`manage.py product_svc export_products`, and the import of the exported file."""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from hypothesis import example, given
from hypothesis import strategies as st

from platform_core.events.models import Event
from product_svc import exporting
from product_svc.models import Product, StockMovement
from tests.product_svc.runs import catalog, counts, everything, exported

pytestmark = pytest.mark.django_db
FORMATS = ("csv", "jsonl")


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_is_the_catalog_and_importing_it_changes_nothing(api, add, load, kind):
    gone = add(sku="GONE")
    api.delete(f"/api/products/{gone['id']}")
    add(sku="A", name='=HYPERLINK("x")', description="one\r\ntwo", stock=3, price="0.10")
    add(sku="@B", name="'=1", category="-", description="#rejected\n#rejected line 1")
    add(name="no sku")
    add(name="no sku")
    text = exported(f"--format={kind}")
    assert "GONE" not in text
    before = everything()
    assert load(text, name=f"c.{kind}").counts == counts(unchanged=4)
    assert everything() == before


def test_json_lines_have_exact_amounts_and_null_for_no_sku(add):
    add(sku="A", price="9999999999.99")
    add()
    first, second = exported("--format=jsonl").splitlines()
    assert '"price":9999999999.99' in first
    assert json.loads(second)["sku"] is None


def test_a_spreadsheet_finds_no_formula_in_an_export(add):
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "'=1+1", "＝1"]
    for text in texts:
        add(name=text, sku=text, category=text, description=text)
    for line in exported().splitlines()[1:]:
        for cell in line.split(","):
            assert cell.strip('"')[:1] not in tuple("=+-@＝"), line


def test_an_export_for_excel_has_a_byte_order_mark_and_imports_as_unchanged(add, load, tmp_path):
    add(sku="A", name="Café", stock=3)
    path = tmp_path / "catalog.csv"
    call_command("export_products", str(path), "--excel", stderr=io.StringIO())
    assert path.read_bytes().startswith(b"\xef\xbb\xbfid,sku,")
    assert path.read_bytes().decode("utf-8-sig") == exported("--excel").removeprefix("\ufeff") == exported()
    assert load(path.read_bytes()).counts == counts(unchanged=1)
    with pytest.raises(CommandError, match="--excel is for csv"):
        exported("--excel", "--format=jsonl")


def test_an_export_is_read_in_pages(add, monkeypatch, django_assert_num_queries):
    for number in range(5):
        add(sku=f"S{number}")
    monkeypatch.setattr(exporting, "PAGE", 2)
    with django_assert_num_queries(4):
        assert [line.split('"')[3] for line in exported().splitlines()[1:]] == [f"S{n}" for n in range(5)]


def test_a_file_is_there_as_a_whole_or_as_it_was(add, tmp_path, monkeypatch):
    add(sku="A")
    path = tmp_path / "catalog.csv"
    call_command("export_products", str(path), stderr=io.StringIO())
    whole = path.read_bytes()
    assert whole.count(b"\n") == 2
    add(sku="B")

    def broken():
        yield from exporting.catalog()
        raise OSError("No space left on device")

    monkeypatch.setattr("product_svc.management.commands.export_products.catalog", broken)
    with pytest.raises(CommandError, match="No space left"):
        call_command("export_products", str(path))
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
tricky = st.text(st.sampled_from("'\"=+-@,;#\n\r\t\\ aä\u2028\x85＝"), max_size=8)
product = st.fixed_dictionaries(
    {"name": text | tricky | st.just("#rejected line 1"), "price": st.decimals(0, 9999999999, places=2).map(str)},
    optional={
        "sku": text | tricky,
        "category": text | tricky,
        "description": text | tricky,
        "stock": st.integers(0, 2**31 - 1),
    },
)


@given(products=st.lists(product, max_size=8), kind=st.sampled_from(FORMATS))
@example(products=[{"name": "'=", "price": "0", "sku": "#rejected x"}], kind="csv")
@example(products=[{"name": "a", "price": "0", "sku": "A"}, {"name": "b", "price": "0", "sku": "A"}], kind="csv")
def test_any_catalog_survives_export_and_import(api, load, products, kind):
    for model in (Event, StockMovement, Product):
        model.objects.all().delete()
    for each in products:
        api.post("/api/products", each)  # the API refuses some, such as a repeated sku
    before, written = catalog(), exported(f"--format={kind}")
    again = everything()
    assert load(written, name=f"c.{kind}").counts == counts(unchanged=len(before))
    assert everything() == again
    StockMovement.objects.all().delete()
    Product.objects.all().delete()
    assert load(written, "--allow-without-sku", name=f"c.{kind}").counts == counts(new=len(before))
    assert catalog() == before
