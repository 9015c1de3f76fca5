"""Valid and invalid names for `manage.py new_service`, and the files it makes. `tests/e2e` runs the command."""

import pytest

from platform_core.tools.new_service import NewServiceError, names_of, plural, rendered, singular, with_service


@pytest.mark.parametrize(
    "name, resource, path",
    [
        ("reviews", "Review", "reviews"),
        ("categories", "Category", "categories"),
        ("addresses", "Address", "addresses"),
        ("boxes", "Box", "boxes"),
        ("branches", "Branch", "branches"),
        ("warehouses", "Warehouse", "warehouses"),
        ("inventory", "Inventory", "inventories"),
        ("shipping", "Shipping", "shippings"),
    ],
)
def test_the_resource_is_the_singular_of_the_name(name, resource, path):
    names = names_of(name)
    assert (names.Resource, names.path) == (resource, path)
    assert singular(path) == resource.lower()
    assert plural(resource.lower()) == path


def test_a_resource_of_two_words_is_written_as_each_place_wants_it():
    values = names_of("cards", "GiftCard").values()
    assert (values["resource"], values["path"], values["operation"]) == ("gift_card", "gift-cards", "giftCard")
    assert (values["a_words"], values["Label"]) == ("a gift card", "Gift cards")
    assert names_of("items").values()["a_words"] == "an item"


@pytest.mark.parametrize(
    "name, resource, reason",
    [
        ("Reviews", "", "lower-case letters"),
        ("my-reviews", "", "lower-case letters"),
        ("gift_cards", "", "lower-case letters"),
        ("reviews_svc", "", "lower-case letters"),
        ("platform_core", "", "lower-case letters"),
        ("rev1ews", "", "lower-case letters"),
        ("reviews/../x", "", "lower-case letters"),
        ("x" * 21, "", "lower-case letters"),
        ("", "", "lower-case letters"),
        ("class", "", "a name of Python"),
        ("lists", "", "a name of Python"),
        ("events", "", "a name of Python or Django"),
        ("reviews", "Import", "a name of Python"),
        ("platform", "", "platform_core has that name"),
        ("services", "Thing", "platform_core has that name"),
        ("order", "Basket", "platform_core has that name"),
        ("users", "", "use --resource|Use --resource"),
        ("reviews", "review", "expected one such as Review"),
        ("reviews", "Gift Card", "expected one such as Review"),
        ("reviews", "GIFT", "expected one such as Review"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_reason(name, resource, reason):
    with pytest.raises(NewServiceError, match=reason):
        names_of(name, resource)


@pytest.mark.parametrize("purpose", ["two\nlines", "a | b", 'a "quote"', "x" * 101])
def test_a_purpose_that_tables_and_strings_cannot_hold_is_refused(purpose):
    with pytest.raises(NewServiceError, match="purpose"):
        names_of("reviews", purpose=purpose)


def test_a_package_that_exists_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("platform_core.tools.new_service.ROOT", tmp_path)
    (tmp_path / "tests" / "reviews_svc").mkdir(parents=True)
    with pytest.raises(NewServiceError, match="tests/reviews_svc exists already"):
        names_of("reviews")


@pytest.mark.parametrize("name, resource", [("reviews", ""), ("cards", "GiftCard"), ("q" * 20, "Abcdefghijklmnopqrst")])
def test_every_file_is_python_with_no_name_left_to_fill_in(name, resource):
    files = rendered(names_of(name, resource))
    assert len(files) > 15
    for path, content in files.items():
        compile(content, str(path), "exec")
        assert "$" not in content, path
        assert max((len(line) for line in content.splitlines() if '"""' in line or "#" in line), default=0) < 160


def test_the_service_is_the_last_of_the_topology_however_the_tuple_is_written():
    one = 'A = Service("a_svc", 8001)\n\nSERVICES = (A,)\nMORE = 1\n'
    many = 'A = Service("a_svc", 8001)\n\nSERVICES = (\n    A,\n    B,\n)\nMORE = 1\n'
    names = names_of("reviews", purpose="opinions")
    for text, services in ((one, "(A, REVIEWS)"), (many, "(\n    A,\n    B, REVIEWS)")):
        changed = with_service(text, names)
        line = f'REVIEWS = Service("reviews_svc", {names.port}, has_worker=True, purpose="opinions")'
        assert changed == f'A = Service("a_svc", 8001)\n{line}\n\nSERVICES = {services}\nMORE = 1\n'
    with pytest.raises(NewServiceError, match="SERVICES"):
        with_service("nothing", names)
