"""`import_products` with the files of other shop systems."""

from decimal import Decimal

import pytest

from product_svc.html_text import text_of
from product_svc.models import Product
from tests.product_svc.runs import counts

pytestmark = pytest.mark.django_db

SHOPIFY = """\
Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Variant SKU,\
Variant Inventory Qty,Variant Price,Image Src
tee,T-shirt,"<p>Soft &amp; <b>light</b>.</p><script>alert(1)</script>",Acme,Shirts,,true,Size,S,Color,Red,T-S,5,19.90,https://a/1
tee,,,,,,,,M,,Red,T-M,,21.00,https://a/2
tee,,,,,,,,,,,,,,https://a/3
mug,Mug,,Acme,,,true,Title,Default Title,,,M-1,0,8.00,
cap,,,,,,,,L,,,C-L,1,5.00,
"""
WOO = """\
ID,Type,SKU,Name,Published,"Short description",Description,"Sale price","Regular price",Stock,Categories,Parent,\
"Attribute 1 name","Attribute 1 value(s)"
7,simple,W-1,Album,1,short,"<p>One</p>\\n<p>Two</p>",9,15,3,Music,,Media,"CD, LP"
8,variable,HOOD,Hoodie,1,,Warm,,,,Clothing,,Color,"Red, Blue"
9,variation,H-RED,"Hoodie - Red",1,,,,"42,50",2,,id:8,Color,Red
10,"variation, virtual",H-BLUE,Hoodie,1,,,,45,,,HOOD,Color,Blue
"""


def products() -> list[tuple]:
    return list(Product.objects.order_by("pk").values_list("sku", "name", "price", "stock", "category", "description"))


def test_a_file_of_shopify_is_recognised_and_its_variants_become_products(load):
    run = load(SHOPIFY)
    assert run.counts == counts(new=3, rejected=1)
    assert "The file is read as one of Shopify." in run.shown
    assert any(line.startswith("Ignored columns: Vendor, Tags, ") for line in run.shown)
    assert products() == [
        ("T-S", "T-shirt – S / Red", Decimal("19.90"), 5, "Shirts", "Soft & light."),
        ("T-M", "T-shirt – M / Red", 21, 0, "Shirts", "Soft & light."),
        ("M-1", "Mug", 8, 0, "", ""),
    ]
    assert "line 6: name: This field may not be blank." in run.said  # a cap must not become a mug
    assert load(SHOPIFY).counts == counts(unchanged=3, rejected=1)


def test_the_newer_titles_of_shopify_are_recognised(load):
    run = load(
        "Title,URL handle,Description,Type,SKU,Option1 value,Price,Inventory quantity\nTee,tee,x,Shirts,T-S,S,1.50,2\n"
    )
    assert run.counts == counts(new=1)
    assert products() == [("T-S", "Tee – S", 1.5, 2, "Shirts", "x")]


def test_a_file_of_woocommerce_is_recognised_and_its_variants_become_products(load):
    run = load(WOO)
    assert (run.code, run.counts) == (0, counts(new=3))
    assert "The file is read as one of WooCommerce." in run.shown
    assert products() == [
        ("W-1", "Album", 15, 3, "Music", "One\nTwo"),
        ("H-RED", "Hoodie - Red", 42.5, 2, "Clothing", "Warm"),
        ("H-BLUE", "Hoodie – Blue", 45, 0, "Clothing", "Warm"),
    ]


@pytest.mark.parametrize(
    "preset, content, product",
    [
        (
            "magento",
            "sku,store_view_code,product_type,categories,name,description,price,qty\n"
            "M-1,,simple,Default/Bags,Bag,<p>Big</p>,34.0000,100.0000\nM-1,de,simple,,Tasche,,,\n"
            "M-2,,configurable,,Bags,,,\n",
            ("M-1", "Bag", 34, 100, "Default/Bags", "Big"),
        ),
        (
            "bigcommerce",
            "Item Type,Product Name,Product Code/SKU,Price,Current Stock Level,Category,Product Description\n"
            "Product,Soap,B-1,4.50,6,Bath,<br>Mild\nRule,,,,,,\n",
            ("B-1", "Soap", 4.5, 6, "Bath", "Mild"),
        ),
        (
            "google",
            "id\ttitle\tdescription\tlink\tprice\tavailability\tproduct_type\n"
            "G-1\tLens\tClear\thttps://x\t15.00 USD\tin_stock\tOptics\n",
            ("G-1", "Lens", 15, 0, "Optics", "Clear"),
        ),
    ],
)
def test_files_of_other_systems_are_read_by_their_presets(load, preset, content, product):
    assert load(content, f"--preset={preset}").counts == counts(new=1)
    assert products() == [product]


def test_a_map_takes_precedence_over_a_preset(load):
    assert load(WOO, "--map=price=Sale price").counts == counts(new=1, rejected=2)
    assert products()[0][2] == 9


def test_a_preset_can_be_switched_off_and_is_for_csv(load):
    assert "'ID'" not in load(WOO, "--preset=none").refusal
    assert "are unknown" in load(WOO, "--preset=none").refusal
    assert "for CSV" in load("{}", "--preset=shopify", name="c.jsonl").refusal


def test_the_columns_that_a_preset_lacks_are_named(load):
    assert "'price' is missing" in load("Handle,Title\nx,X\n", "--preset=shopify").refusal


@pytest.mark.parametrize(
    "html, text",
    [
        ("plain  text, 1 < 2", "plain  text, 1 < 2"),
        ("<p>One</p><p>Two<br/>Three</p>", "One\nTwo\nThree"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
        ("a<style>b {}</style>c<script>if (1 < 2) d()</script>e", "ace"),
        ("<script>never closed", ""),
        ("&lt;b&gt; &eacute; &#8364;", "<b> é €"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("<!-- no --><b>bold</b> text", "bold text"),
        ("<script/>a</script>b", None),
    ],
)
def test_html_becomes_text(html, text):
    assert text_of(html) == text if text is not None else "<" not in text_of(html)
