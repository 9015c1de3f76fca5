"""`import_products` with files of spreadsheets and other systems: encodings, delimiters, numbers and titles."""

import io
import subprocess
import sys
from decimal import Decimal

import pytest
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from product_svc import numbers
from product_svc.models import Product
from tests.product_svc.runs import HEADER, Imported, counts, everything, exported

pytestmark = pytest.mark.django_db
CAFE = "sku,name,price,stock\nA,Café “Crème” €,1,2\n"


def products(*fields: str) -> list[tuple]:
    return list(Product.objects.order_by("pk").values_list(*fields or ("sku", "name", "price", "stock")))


def prices() -> list[str]:
    return [str(price) for price in Product.objects.order_by("pk").values_list("price", flat=True)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_encoding_is_detected(load, encoding):
    run = load(CAFE.encode(encoding))
    assert (run.code, run.counts) == (0, counts(new=1))
    assert products() == [("A", "Café “Crème” €", 1, 2)]
    assert ("not UTF-8. It is read as cp1252" in run.shown[0]) == (encoding == "cp1252")


@pytest.mark.parametrize("mark, encoding", [(b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le")])
def test_both_kinds_of_utf_16_are_read(load, mark, encoding):
    assert load(mark + CAFE.encode(encoding)).counts == counts(new=1)
    assert products("name") == [("Café “Crème” €",)]


def test_a_broken_utf_8_file_is_not_taken_for_cp1252(load):
    """Otherwise all names with accents would become wrong."""
    run = load(CAFE.encode() + b"B,Caf\xe9,1,2\nC,\xc3\xa9,1,2\n")
    assert run.counts == counts(new=2, rejected=1)
    assert "line 3: not UTF-8" in run.said
    assert products("name") == [("Café “Crème” €",), ("é",)]


def test_rejected_bytes_are_not_taken_for_cp1252_in_the_file_of_rejects(load, tmp_path):
    load(CAFE.encode() + b"B,Caf\xe9,1,2\n")
    assert Imported(tmp_path / "catalog.csv.rejects").counts == counts(rejected=1)


def test_json_lines_are_never_taken_for_cp1252(load):
    run = load(b'{"sku": "A", "name": "Caf\xe9", "price": 1}\n', name="c.jsonl")
    assert run.counts == counts(rejected=1)
    assert "line 1: not UTF-8" in run.said


def test_a_byte_that_is_no_character_of_cp1252_is_reported(load):
    run = load(HEADER.encode() + b"A,Caf\xe9,1,2\nB,\x81,1,2\n")
    assert run.counts == counts(new=1, rejected=1)
    assert "line 3: not cp1252" in run.said


def test_a_damaged_utf_16_file_ends_the_import(load):
    run = load(CAFE.encode("utf-16") + b"x")
    assert run.code == 1
    assert "not UTF-16" in run.refusal


def test_the_encoding_can_be_given(load):
    assert load("sku,name,price\nA,Škoda,1\n".encode("cp1250"), "--encoding=cp1250").counts == counts(new=1)
    assert products("name") == [("Škoda",)]
    for encoding in ("utf-8", "utf-16-le"):
        assert load("\ufeffsku,name,price\nA,Škoda,1\n".encode(encoding), f"--encoding={encoding}").code == 0
    assert "no such encoding" in load("", "--encoding=nonsense").refusal


@pytest.mark.parametrize("delimiter, name", [(";", "semicolons"), ("\t", "tabs"), (",", None)])
@pytest.mark.parametrize("first", ["", "sep={}\r\n", '"sep={}"\n'])
def test_the_delimiter_is_detected(load, delimiter, name, first):
    header, row = ("sku", "name", "price", "stock"), ("A", '"a;b,c"', "1", "2")
    run = load("".join([first.format(delimiter), *(delimiter.join(cells) + "\n" for cells in (header, row))]))
    assert run.counts == counts(new=1)
    assert products() == [("A", "a;b,c", 1, 2)]
    assert any(f"separated by {name}" in line for line in run.shown) == bool(name)


def test_a_file_of_tabs_is_known_by_its_name(load):
    assert load("sku\tname\tprice\nA\tLamp\t1\n", name="c.tsv").counts == counts(new=1)


def test_the_lines_of_a_detected_file_are_counted_and_its_rejects_can_be_imported(load, tmp_path):
    run = load("sep=;\r\nsku;name;price\r\nA;;1\r\nB;Box;2\r\n".encode("utf-16"))
    assert run.counts == counts(new=1, rejected=1)
    assert "line 3: name" in run.said
    rejects = tmp_path / "catalog.csv.rejects"
    rejects.write_bytes(rejects.read_bytes().replace(b"A;;1", "A;Café;1".encode()))
    assert Imported(rejects).counts == counts(new=1)
    assert products("name") == [("Box",), ("Café",)]


def test_delimiters_at_the_end_and_lines_of_delimiters_do_no_harm(load):
    run = load("sku,name,price,stock,,\nA,Lamp,1,2,,\nB,Box,1,2\n,,,,,\nC,Bowl,1,2,,x\n")
    assert run.counts == counts(new=2, rejected=1)
    assert "line 5: expected 4 cells, found 6" in run.said


@pytest.mark.parametrize(
    "text, options, price",
    [
        ("123.0000", "", "123.00"),
        ("123.4500", "", "123.45"),
        ("12,5", "", "12.50"),
        ("12,50", "", "12.50"),
        ("1.234,56", "", "1234.56"),
        ("1,234.56", "", "1234.56"),
        ("1 234,56", "", "1234.56"),
        ("1\u202f234.5", "", "1234.50"),
        ("1'234.50", "", "1234.50"),
        ("1,234,567", "", "1234567.00"),
        ("1234", "", "1234.00"),
        ("0.500", "", "0.50"),
        ("1,234", "--decimal=point", "1234.00"),
        ("1.230", "--decimal=point", "1.23"),
        ("1.234", "--decimal=comma", "1234.00"),
        ("1,230", "--decimal=comma", "1.23"),
        ("12,50", "--decimal=comma", "12.50"),
        ("15.00 USD", "", "15.00"),
        ("USD 1,5", "", "1.50"),
    ],
)
def test_a_number_is_read_as_it_is_meant(load, text, options, price):
    assert load(f'sku,name,price\nA,Lamp,"{text}"\n', *options.split()).counts == counts(new=1)
    assert prices() == [price]


@given(
    st.decimals(0, 9999999999, places=2),
    st.sampled_from((numbers.POINT, numbers.COMMA)),
    st.integers(0, 4),
    st.booleans(),
)
def test_any_number_is_read_right_or_refused(amount, mark, places, is_grouped):
    text = f"{amount:{',' if is_grouped else ''}.{max(places, -amount.normalize().as_tuple().exponent)}f}"
    if mark == numbers.COMMA:
        text = text.translate(str.maketrans(",.", ".,"))
    assert Decimal(numbers.reader(mark, 2)(text)) == amount
    try:
        assert Decimal(numbers.reader(None, 2)(text)) == amount
    except ValueError as error:
        assert "two ways" in str(error)  # noqa: PT017  # a refusal is right, too


@pytest.mark.parametrize(
    "text, options, reason",
    [
        ("1,234", "", "price: '1,234' reads two ways: 1234 (--decimal point) or 1.234 (--decimal comma)"),
        ("1.000", "", "price: '1.000' reads two ways: 1.000 (--decimal point) or 1000 (--decimal comma)"),
        ("12.50", "--decimal=comma", "price: '12.50' is not a number with a decimal comma"),
        ("12,50", "--decimal=point", "price: '12,50' is not a number with a decimal point"),
        ("1,23,456", "", "price: A valid number"),
        ("1.234.56", "", "price: A valid number"),
        ("12.3450", "", "price: "),
        ("15.00 EUR", "", "price: '15.00 EUR' is not in USD"),
        ("$15", "", "price: A valid number"),
    ],
)
def test_a_number_that_may_be_another_is_refused(load, text, options, reason):
    run = load(f'sku,name,price\nA,Lamp,"{text}"\n', *options.split())
    assert run.counts == counts(rejected=1)
    assert f"line 2: {reason}" in run.said


def test_the_currency_has_the_last_word_on_decimals(load, settings):
    settings.CURRENCY = "JPY"
    run = load("sku,name,price\nA,Lamp,100.0000\nB,Box,100.5\nC,Bowl,100 JPY\n")
    assert run.counts == counts(new=2, rejected=1)
    assert "line 3: price" in run.said


def test_a_stock_with_zeros_is_a_whole_number(load):
    run = load('sku,name,price,stock\nA,Lamp,1,5.0000\nB,Box,1,"1,000"\nC,Bowl,1,1.5\n')
    assert run.counts == counts(new=1, rejected=2)
    assert "line 3: stock: '1,000' reads two ways" in run.said
    assert products("stock") == [(5,)]


def test_both_numbers_of_a_line_are_reported(load):
    assert (
        "reads two ways: 1234 (--decimal point) or 1.234 (--decimal comma); stock: '1.000'"
        in load('sku,name,price,stock\nA,Lamp,"1,234",1.000\n').said
    )


def test_columns_are_mapped_and_unknown_ones_ignored(load):
    content = "Code,Title,Name,Amount,Colour\nA,Lamp,internal,1,red\n"
    names = ("--map=sku=code", "--map=name=Title", "--map=price=Amount")
    run = load(content, *names)
    assert "'Name', 'Colour' are unknown" in run.refusal
    run = load(content, *names, "--ignore-unknown")
    assert run.counts == counts(new=1)
    assert "Ignored columns: Name, Colour." in run.shown
    assert products("sku", "name", "price") == [("A", "Lamp", 1)]


def test_members_of_json_lines_are_mapped_and_ignored(load):
    content = '{"sku": "A", "Title": "Lamp", "name": "x", "price": 1, "colour": "red", "size": 1}\n'
    run = load(content, "--map=name=Title", name="c.jsonl")
    assert "line 1: 'name', 'colour', 'size' are unknown" in run.said
    assert load(content, "--map=name=Title", "--ignore-unknown", name="c.jsonl").counts == counts(new=1)
    assert products("name") == [("Lamp",)]


@pytest.mark.parametrize(
    "argument, reason",
    [
        ("--map=colour=Colour", "expected COLUMN=TITLE"),
        ("--map=name", "expected COLUMN=TITLE"),
        ("--map=name=Label", "--map names 'Label'"),
    ],
)
def test_a_bad_map_is_reported_at_once(load, argument, reason):
    run = load(f"{HEADER}A,Lamp,1,1\n", argument)
    assert reason in run.refusal
    assert not Product.objects.exists()


def test_two_columns_from_one_title_are_refused(load):
    assert "expected COLUMN=TITLE" in load(HEADER, "--map=name=T", "--map=sku=T").refusal


def test_an_export_that_a_spreadsheet_saved_with_semicolons_is_unchanged(add, load):
    add(sku="A", name='=1;"x"', price="1234.50", stock=1234, description="one\r\ntwo")
    text = exported().replace('","', '";"')
    lines = text.split("\r\n", 1)
    rest = lines[1].replace(',"', ';"').replace('",', '";').replace("1234.50,1234", "1234.50;1234")
    before = everything()
    assert load(lines[0].replace(",", ";") + "\r\n" + rest).counts == counts(unchanged=1)
    assert everything() == before


def test_a_pipe_is_read(tmp_path):
    """The encoding is known at the end, so the command keeps a copy of what a pipe sends."""
    writer = [
        sys.executable,
        "-c",
        "import sys; sys.stdout.buffer.write('sku,name,price\\nA,Café,1\\n'.encode('cp1252'))",
    ]
    with subprocess.Popen(writer, stdout=subprocess.PIPE) as sent, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(sent.stdout))
        rejects = f"--rejects={tmp_path / 'r'}"
        call_command("import_products", "-", "--format=csv", rejects, stdout=io.StringIO())
    assert products("name") == [("Café",)]
