"""GET /api/products?search=: what is found, and in which order. Also ?sku= and ?category=."""

from itertools import chain
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from product_svc import search
from product_svc.models import Product
from tests.wire import assert_problem, ids, walk

pytestmark = pytest.mark.django_db


@pytest.fixture
def found(api):
    """The names of the products that a search finds, in its order."""

    def found(text: str, **query: str) -> list[str]:
        answer = api.client.get("/api/products", {"search": text, **query})
        assert answer.status_code == 200, answer.content
        return [product["name"] for product in answer.json()["results"]]

    return found


@pytest.fixture
def shop(add) -> None:
    for name, sku, description in (
        ("Café Crème Maker", "CCM-100", "Coffee for two."),
        ("The Who: Live at Leeds", "LP-7", "A record."),
        ("Wireless Headphones", "HP-42/B", "They cancel noise."),
        ("Straßenkarte", "MAP-1", "Every street of the town."),
        ("Schifffahrt für Kinder", "BK-9", "A book."),
        ("日本語辞書", "BK-10", "辞書です。"),
        ("Happy socks 🧦", "SOCK-1", "Warm and woolly."),
        ("C++ in a week", "BK-11", "A book on programming in C#."),
        ("USB-C cable", "CAB-1", "Black, two metres."),
        ("Smørrebrød board", "BRD-1", "Łódź oak."),
        ("Men's Wi-Fi T-Shirt", "TS-1", "Of cotton."),
        ("ΟΔΟΣ", "GR-1", "Москва, ёлка"),
    ):
        add(name=name, sku=sku, description=description)


CAFE, WHO, HEADPHONES, MAP, SHIPPING, DICTIONARY, SOCKS, CPP, CABLE, BOARD, SHIRT, STREET = (
    *("Café Crème Maker", "The Who: Live at Leeds", "Wireless Headphones", "Straßenkarte", "Schifffahrt für Kinder"),
    *(
        "日本語辞書",
        "Happy socks 🧦",
        "C++ in a week",
        "USB-C cable",
        "Smørrebrød board",
        "Men's Wi-Fi T-Shirt",
        "ΟΔΟΣ",
    ),
)


@pytest.mark.parametrize(
    "text, expected",
    [
        *(
            (text, [CAFE])
            for text in ("cafe", "creme", "CAFÉ", "cafe\u0301", "Cafe\u0301 Cre\u0300me", "ｃａｆｅ", "café mak")
        ),
        *((text, [CAFE]) for text in ("CCM-100", "ccm-100", "ccm100", "CCM", "ccm-1", "ccm 100", "coffee", "coffees")),
        ("coff", []),  # descriptions are not searched by beginnings
        *((text, [WHO]) for text in ("the who", "THE WHO", "who the", "the who live")),
        ("who is it", []),
        *(
            (text, [HEADPHONES])
            for text in ("headph", "headphone", "wireless head", "HP-42/B", "hp-42", "cancels noises")
        ),
        ("wire headphones", []),  # only the last word may be a beginning
        ("headphones cable", []),
        *((text, [MAP]) for text in ("strasse", "straße", "STRASSE", "STRAẞE", "stras", "strassenkarte")),
        *((text, [SHIPPING]) for text in ("schiff", "Schifffahrt", "schiﬀfahrt", "fur kinder", "für")),
        *((text, [DICTIONARY]) for text in ("日本語", "日本", "本語", "語", "日", "辞書", "日本語辞書", "日本 辞書")),
        ("日語", []),
        *((text, [SOCKS]) for text in ("🧦", "🧦 socks", "happy 🧦", "woolly")),
        ("🧤", []),
        *((text, [CPP]) for text in ("c++", "C++", "c++ week", "c#", "csharp")),
        ("c+++", []),
        *((text, [CABLE]) for text in ("usb-c", "usb c", "usbc", "USB-C cab")),
        *((text, [BOARD]) for text in ("smorrebrod", "smørrebrød", "lodz", "ŁÓDŹ")),
        *(
            (text, [SHIRT])
            for text in ("mens", "men's", "men’s", "wifi", "wi-fi", "wi fi", "t shirt", "tshirt", "t-shirt")
        ),
        *((text, [STREET]) for text in ("οδος", "οδοσ", "ὁδός", "МОСКВА", "елка")),
        *(
            (text, [])
            for text in ("%", "_", "'", "\\", "<->", "!", "( )", "\u0301", "\u0301\u0302", "\u200b", "…", "zzz")
        ),
    ],
)
def test_a_search_ignores_case_accents_and_unicode_form(shop, found, text, expected):
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a & b",
            "a | b",
            "!a",
            "a:*",
            "a:*ABCD",
            "a <-> b",
            "a <2> b",
            "((a",
            "'a",
            "''",
            '"a b"',
            "a\\",
            "\\'",
            ":*",
            "=a",
        ),
        *(
            "a" * 200,
            "a " * 99 + "a",
            "日" * 200,
            "🧦" * 200,
            "+" * 200,
            "ﷺ" * 200,
            "\u0301" * 200,
            "-" * 200,
            "-a" * 100,
        ),
        *("the " * 49 + "the", "a\tb\nc", "\ud7ff\ue000\uffff", "\U000f0000", "x'; DROP TABLE product_svc_product; --"),
    ],
)
def test_no_search_is_an_error_of_ours(shop, api, text):
    answer = api.client.get("/api/products", {"search": text})
    assert answer.status_code == 200, answer.content
    assert api.client.get("/api/products", {"search": text, "ordering": "price"}).status_code == 200


@pytest.mark.parametrize("text", ["", " ", "   ", "\t", "\u3000", "\0", "a\0b", "x" * 201, "x" * 10_000, "日" * 10_000])
def test_a_search_for_nothing_or_too_much_is_refused_by_name(api, text):
    assert_problem(api.client.get("/api/products", {"search": text}), 400, "invalid", ["search"])


def test_the_names_come_before_what_only_mentions_the_word(add, found):
    add(name="Laptop")
    add(name="Desk", description="A desk for a laptop.")
    add(name="Mouse", category="laptop")
    add(name="Laptop bag", description="A bag for a laptop.")
    add(name="Cable", sku="X-laptop")
    add(name="Laptops and more")
    assert found("laptop")[:1] == ["Laptop"]
    assert set(found("laptop")[1:3]) == {"Laptop bag", "Laptops and more"}
    assert found("laptop")[3:] == ["Cable", "Mouse", "Desk"]
    assert found("laptops")[0] == "Laptops and more"
    assert set(found("laptops")) == set(found("laptop"))


def test_a_sku_comes_first_and_before_it_the_exact_one(add, found):
    add(name="Exact", sku="AB-1")
    add(name="AB 1")
    add(name="Beginning", sku="AB-12")
    add(name="Described", description="Fits AB 1.")
    for text in ("AB-1", "ab 1", "ａｂ－１"):
        assert found(text) == ["Exact", "Beginning", "AB 1", "Described"], text
    assert found("ab1") == ["Exact", "Beginning"]
    assert found("ab-12") == ["Beginning"]


def test_a_whole_word_of_a_name_comes_before_a_beginning(add, found):
    add(name="Pro stand")
    add(name="Projector")
    add(name="Big projector for the pro")
    assert found("pro") == ["Big projector for the pro", "Pro stand", "Projector"]


def test_words_without_meaning_order_what_the_others_find(add, found):
    add(name="The Who shirt")
    add(name="Shirt")
    assert found("the who shirt") == ["The Who shirt", "Shirt"]


def test_relevance_is_the_order_of_a_search_and_can_be_asked_for(shop, add, api, found):
    add(name="Cafe")
    add(name="Book", description="About a café.", price=1)
    assert found("cafe") == found("cafe", ordering="relevance") == ["Cafe", CAFE, "Book"]
    assert found("cafe", ordering="-createdAt") == ["Book", "Cafe", CAFE]
    assert found("cafe", ordering="price")[0] == "Book"
    assert_problem(api.get("/api/products?ordering=relevance"), 400, "invalid", ["ordering"])
    assert_problem(api.get("/api/products?search=cafe&ordering=-relevance"), 400, "invalid", ["ordering"])


def test_filters_narrow_a_search_before_the_newest_are_ranked(monkeypatch, add, found):
    monkeypatch.setattr(search, "MOST_RANKED", 2)
    add(name="Lamp one", category="Old", stock=1)
    for number in range(3):
        add(name=f"Lamp new {number}", category="new")
    assert found("lamp", category="old") == ["Lamp one"]
    assert found("lamp", category="old", inStock="true", maxPrice="100") == ["Lamp one"]
    assert found("lamp") == ["Lamp new 2", "Lamp new 1"]
    assert len(found("lamp", ordering="-createdAt")) == 4


def test_pages_of_a_search_put_together_are_the_whole_forwards_and_backwards(add, api):
    for number in range(7):
        add(name="Lamp" if number % 3 else "Big lamp", sku=f"lamp-{number}" if number % 2 else None)
    whole = ids(api.get("/api/products?search=lamp"))
    assert len(whole) == 7 and whole != sorted(whole, key=int, reverse=True)
    first = "/api/products?search=lamp&limit=2"
    pages = walk(api, first)
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert list(chain.from_iterable(pages)) == whole
    last = first
    for _ in pages[1:]:
        last = api.get(last).json()["next"]
    assert list(chain.from_iterable(reversed(walk(api, last, "previous")))) == whole


def test_the_pages_end_after_the_newest_thousand(add, api):
    Product.objects.bulk_create(Product(name="Lamp", price=1) for _ in range(search.MOST_RANKED + 5))
    for path, count in (("", search.MOST_RANKED), ("&ordering=-createdAt", search.MOST_RANKED + 5)):
        pages = walk(api, f"/api/products?search=lamp&limit=200{path}")
        assert sum(map(len, pages)) == count
        assert pages[0][0] == str(Product.objects.latest("id").pk)


def test_old_and_new_matches_are_found_and_the_newest_are_ranked(monkeypatch, add, found):
    monkeypatch.setattr(search, "MOST_RANKED", 3)
    monkeypatch.setattr(search, "WALKED", 2)
    for name in ("Lamp old", "Lamp", "Box", "Lamp new"):
        add(name=name)
    assert found("lamp") == ["Lamp", "Lamp new", "Lamp old"]
    assert found("box") == ["Box"]
    add(name="Lamp newer")
    assert found("lamp") == ["Lamp", "Lamp newer", "Lamp new"]
    monkeypatch.setattr(search, "WALKED", 4)
    assert found("lamp") == ["Lamp", "Lamp newer", "Lamp new"]


def test_the_cursor_of_relevance_is_no_cursor_of_another_order(add, api):
    for _ in range(2):
        add(name="Lamp")
    cursor = urlsplit(api.get("/api/products?search=lamp&limit=1").json()["next"]).query.split("cursor=")[1]
    assert api.get(f"/api/products?search=lamp&ordering=relevance&cursor={cursor}").status_code == 200
    for path in ("ordering=-createdAt&search=lamp", "ordering=price"):
        assert_problem(api.get(f"/api/products?{path}&cursor={cursor}"), 400, "invalid", ["cursor"])


def test_a_deleted_product_is_not_found(add, api, found):
    product = add(name="Lamp")
    api.delete(f"/api/products/{product['id']}")
    assert found("lamp") == []


def test_a_change_is_found_at_once_however_it_is_made(lamp, api, found, load):
    api.patch(f"/api/products/{lamp['id']}", {"name": "Tête-à-tête"})
    assert found("tete a tete") == found("teteatete") == ["Tête-à-tête"]
    load("sku,name,price\nL-1,Łuk,1\n")
    assert found("luk") == ["Łuk"]
    api.post("/api/products/bulk", {"items": [{"name": "Ærø", "price": 1}]})
    assert found("aero") == ["Ærø"]
    Product.objects.update(name="Naïve")
    assert found("naive") == ["Naïve", "Naïve"]


@pytest.mark.parametrize(
    "sku, expected",
    [("L-1", True), ("l-1", False), ("L-", False), ("L-1 ", True), ("L1", False), ("%", False), ("L-2", False)],
)
def test_the_sku_is_compared_exactly(api, lamp, sku, expected):
    assert ids(api.client.get("/api/products", {"sku": sku})) == ([lamp["id"]] if expected else [])


def test_a_sku_that_is_given_twice_or_malformed_is_refused(api):
    for query in ("sku=a&sku=b", "sku=", "sku=%00", f"sku={'x' * 65}"):
        assert_problem(api.get(f"/api/products?{query}"), 400, "invalid", ["sku"])


def test_the_category_ignores_case_and_unicode_form(api, add):
    expected = [add(category=category)["id"] for category in ("Möbel", "MÖBEL", "mo\u0308bel")][::-1]
    for other in ("Mobel", "Möbel 2", "", "İstanbul", "ΟΔΟΣ"):
        add(category=other)
    for category in ("möbel", "Möbel", "MÖBEL", "Mo\u0308bel"):
        assert ids(api.client.get("/api/products", {"category": category})) == expected
    for category in ("İstanbul", "ΟΔΟΣ", "Mobel", "mobel"):
        assert len(ids(api.client.get("/api/products", {"category": category}))) == 1
    for category in ("%", "-", "\u0301"):
        assert ids(api.client.get("/api/products", {"category": category})) == []


def test_categories_that_only_differ_in_case_count_once(api, add):
    lamp = add(category="Lights")
    box = add(category="boxes")
    assert ids(api.get("/api/products?category=lights&category=LIGHTS&category=Boxes&category=none")) == [
        box["id"],
        lamp["id"],
    ]
    pages = walk(api, "/api/products?category=lights&category=LIGHTS&category=Boxes&limit=1")
    assert pages == [[box["id"]], [lamp["id"]]]


@pytest.mark.parametrize("path", ["", "public", "pg_catalog"])
def test_vectors_are_computed_with_any_search_path(lamp, path):
    """pg_restore sets an empty search_path, and generated columns are computed while it copies the rows."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        (schema,) = cursor.fetchone()
        cursor.execute("SELECT set_config('search_path', %s, true)", [path])
        cursor.execute(
            f'UPDATE "{schema}".product_svc_product SET name = %s RETURNING text::text', ["Café Łódź 日本 🧦 c++ Wi-Fi"]
        )
        (vector,) = cursor.fetchone()
        cursor.execute("SELECT set_config('search_path', %s, true)", [schema])
    assert "'cafe'" in vector and "'wifi'" in vector


def test_the_migration_computes_the_words_of_products_that_are_there(api, found):
    MigrationExecutor(connection).migrate([("product_svc", "0001_initial")])
    columns = "name, description, category, sku, price, stock, created_at, updated_at, version"
    with connection.cursor() as cursor:
        for name, sku in (("Café Crème", "CC-1"), ("Box", None)):
            cursor.execute(
                f"INSERT INTO product_svc_product ({columns}) VALUES (%s, '', 'Möbel', %s, 1, 0, now(), now(), 1)",
                [name, sku],
            )
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("product_svc"))
    assert found("creme") == found("cc1") == ["Café Crème"]
    assert len(found("mobel")) == len(found("MÖBEL", category="möbel")) == 2
