"""`import_products` with workbooks (XLSX): what a cell shows is imported, or its row is rejected."""

import builtins
import csv
import datetime
import io
import re
import subprocess
import sys
import zipfile
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openpyxl
import pytest
from openpyxl.styles import Alignment

from platform_core.conf.environment import ROOT
from product_svc import workbooks
from product_svc.files import Reading
from product_svc.models import Product
from tests.product_svc.runs import Imported, catalog, counts, everything
from tests.product_svc.test_import_from_other_shops import SHOPIFY, WOO
from tests.suites import plain_environment

pytestmark = pytest.mark.django_db
HEADER = ("sku", "name", "price", "stock")
PATH = "xl/worksheets/sheet1.xml"


class Formatted:
    """A value with a number format."""

    def __init__(self, value: Any, form: str) -> None:
        self.value, self.form = value, form


def book(*rows: Any, merged: tuple[str, ...] = (), calculated: bool = True) -> openpyxl.Workbook:
    made = openpyxl.Workbook()
    made.calculation.fullCalcOnLoad = not calculated
    for row in rows:
        made.active.append([each.value if isinstance(each, Formatted) else each for each in row])
        for cell, each in zip(made.active[made.active.max_row], row, strict=False):
            if isinstance(each, Formatted):
                cell.number_format = each.form
    for name in merged:
        made.active.merge_cells(name)
    return made


def content(made: openpyxl.Workbook) -> bytes:
    stream = io.BytesIO()
    made.save(stream)
    return stream.getvalue()


def rewritten(data: bytes, change: Any, path: str = PATH) -> bytes:
    """The workbook with a changed part."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = old.read(name)
            new.writestr(name, change(text.decode()) if name == path else text)
    return stream.getvalue()


@pytest.fixture
def take(tmp_path):
    """Imports a workbook, rows, or the bytes of a file."""

    def take(made: Any, *arguments: str, name: str = "catalog.xlsx") -> Imported:
        made = book(*made) if isinstance(made, list) else made
        path = tmp_path / name
        path.write_bytes(made if isinstance(made, bytes) else content(made))
        run = Imported(path, *arguments)
        rejects = path.with_name(f"{name}.rejects.csv")
        run.rejects = rejects.read_text("utf-8-sig") if rejects.exists() else None
        return run

    return take


def test_a_workbook_is_imported_as_the_same_csv_would_be(take, books_balance):
    rows = [HEADER, ("L-1", "Lamp", 19.99, 5), ("L-2", "Größe “M”", 7, 0), (4711, 1984, "12.50", "3")]
    run = take(rows)
    assert (run.code, run.counts) == (0, counts(new=3))
    assert run.rejects is None
    found = list(Product.objects.order_by("pk").values_list("sku", "name", "price", "stock"))
    assert found == [
        ("L-1", "Lamp", Decimal("19.99"), 5),
        ("L-2", "Größe “M”", 7, 0),
        ("4711", "1984", Decimal("12.50"), 3),
    ]
    before = everything()
    assert take(rows).counts == counts(unchanged=3)
    assert everything() == before and books_balance()


def test_blank_rows_and_columns_beyond_the_table_make_no_difference(take):
    rows = [(), (), HEADER, (), ("A", "Lamp", 1, 1), (None, " ", None, ""), ("B", "Box", 2), (), ()]
    run = take(rows)
    assert run.counts == counts(new=2)
    assert "row 7: price" in take([*rows[:6], ("B", "Box")]).said


def test_rows_that_the_dimensions_of_the_sheet_leave_out_are_imported(take):
    data = content(book(HEADER, ("A", "Lamp", 1, 1), ("B", "Box", 2, 2)))
    cut = rewritten(data, lambda text: re.sub('<dimension ref="[^"]*"', '<dimension ref="A1:B1"', text))
    assert take(cut).counts == counts(new=2)


# What would be read wrong

UNFIT = [
    ({"sku": datetime.date(2026, 2, 1)}, "cell A2 is a date or time (2026-02-01"),  # was 1-2
    ({"sku": datetime.time(10, 30)}, "cell A2 is a date or time (10:30:00)"),
    ({"price": datetime.datetime(2026, 5, 12)}, "cell C2 is a date or time"),  # was 12.5
    ({"stock": datetime.timedelta(hours=30)}, "cell D2 is a date or time"),
    ({"sku": True}, "cell A2 is TRUE: enter it as text"),
    ({"stock": False}, "cell D2 is FALSE"),
    ({"sku": Formatted(7, '"SKU-"0000')}, "cell A2 is the number 7 in the format '\"SKU-\"0000'"),
    ({"sku": Formatted(1234, "#,##0")}, "cell A2 is the number 1234 in the format '#,##0'"),
    ({"sku": Formatted(12.5, "0")}, "cell A2 is the number 12.5"),  # shows 13
    ({"sku": 1234567890123456}, "cell A2 is a number of more than 15 digits"),
    ({"price": Formatted(0.5, "0%")}, "cell C2 is a number that the format '0%' shows as another one"),
    ({"price": Formatted(5000, "#,##0,")}, "cell C2 is a number that the format '#,##0,' shows as another one"),
    ({"price": Formatted(5, '#,##0.00 "€"')}, "which is not in USD, the shop's currency"),
    ({"price": Formatted(5, "[$CHF-807] #,##0.00")}, "which is not in USD"),
    ({"price": "#N/A"}, "cell C2 is the error #N/A"),
    ({"price": 19.999}, "row 2: price: "),
    ({"price": "1,234"}, "row 2: price: '1,234' reads two ways"),
    ({"price": "=1+1"}, "cell C2 is a formula without a value"),
    ({"sku": "=A9"}, "cell A2 is a formula without a value"),
    ({"stock": 1.5}, "row 2: stock: "),
    ({"stock": -1}, "row 2: stock: "),
]


@pytest.mark.parametrize("cells, reason", UNFIT)
def test_a_cell_that_would_be_read_wrong_rejects_its_row_and_no_other(take, cells, reason):
    bad = {"sku": "A", "name": "Lamp", "price": 1, "stock": 1} | cells
    run = take([HEADER, tuple(bad.values()), ("B", "Box", 2, 2)])
    assert (run.code, run.counts) == (1, counts(new=1, rejected=1))
    assert reason in run.said
    assert catalog()[0][0] == "B"
    assert reason.split(":")[-1].strip()[:20] in run.rejects


@pytest.mark.parametrize(
    "cells, expected",
    [
        ({"sku": Formatted(42, "00000")}, ("00042", "Lamp", 1, 1)),
        ({"sku": "00042"}, ("00042", "Lamp", 1, 1)),
        ({"sku": 4006381333931}, ("4006381333931", "Lamp", 1, 1)),  # shown as 4.00638E+12
        ({"sku": "1-2"}, ("1-2", "Lamp", 1, 1)),
        ({"name": "'=Lamp"}, ("A", "=Lamp", 1, 1)),
        ({"price": 0.1 + 0.2}, ("A", "Lamp", Decimal("0.30"), 1)),  # shown as 0.3
        ({"price": Formatted(1234.5, '"$"#,##0.00_);("$"#,##0.00)')}, ("A", "Lamp", Decimal("1234.50"), 1)),
        ({"price": Formatted(5, '[$USD] #,##0.00" each"')}, ("A", "Lamp", 5, 1)),
        ({"price": "1,234.50"}, ("A", "Lamp", Decimal("1234.50"), 1)),
        ({"price": "15.00 USD"}, ("A", "Lamp", 15, 1)),
        ({"stock": 1e5}, ("A", "Lamp", 1, 100_000)),
        ({"stock": " 7 "}, ("A", "Lamp", 1, 7)),
    ],
)
def test_a_cell_is_read_as_it_is_shown(take, cells, expected):
    good = {"sku": "A", "name": "Lamp", "price": 1, "stock": 1} | cells
    run = take([HEADER, tuple(good.values())])
    assert (run.said, run.counts) == ("", counts(new=1))
    assert Product.objects.values_list("sku", "name", "price", "stock").get() == expected


@pytest.mark.parametrize("decimal", [None, "point", "comma"])
def test_a_number_of_three_decimals_is_no_thousand_whatever_the_decimal_mark_of_texts(take, settings, decimal):
    run = take([HEADER, ("A", "Lamp", 1.234, 1)], *([f"--decimal={decimal}"] if decimal else []))
    assert "no more than 2 decimal places" in run.said
    texts = take(
        [HEADER, ("A", "Lamp", "1.234", 1), ("B", "Lamp", 1234.5, 2)], *([f"--decimal={decimal}"] if decimal else [])
    )
    prices = dict(Product.objects.values_list("sku", "price"))
    assert prices.pop("B") == Decimal("1234.5")
    assert prices == ({"A": 1234} if decimal == "comma" else {}), texts.said


def cached(value: str, kind: str = "") -> Any:
    """Gives the formula of a sheet a value, as a spreadsheet program does."""
    return lambda text: re.sub(r'(<c r="C2")([^>]*>\s*<f>.*?</f>)<v\s*/?>(</v>)?', rf"\1{kind}\2<v>{value}</v>", text)


def test_the_value_of_a_formula_is_taken_as_it_was_calculated_last(take):
    data = content(book(HEADER, ("A", "Lamp", "=B9*2", 1)))
    assert take(rewritten(data, cached("12.5"))).counts == counts(new=1)
    assert Product.objects.get().price == Decimal("12.50")
    assert "row 2: price: A valid number" in take(rewritten(data, cached("", ' t="str"'))).said  # the empty text


def test_values_that_their_writer_calls_out_of_date_are_not_taken(take):
    """Libraries that cannot calculate write 0 for every formula, and this flag."""
    data = content(book(HEADER, ("A", "Lamp", "=B9*2", 1), ("B", "Box", 2, 2), calculated=False))
    run = take(rewritten(data, cached("0")))
    assert run.counts == counts(new=1, rejected=1)
    assert "row 2: cell C2 is a formula without a value: open the workbook" in run.said


def test_a_row_of_uncalculated_formulas_is_not_taken_for_a_blank_one(take):
    run = take([HEADER, ("=A9", "=B9", "=C9", "=D9")])
    assert run.counts == counts(rejected=1)


@pytest.mark.parametrize(
    "merged, rejected", [("D2:D3", 2), ("B2:C2", 1), ("A3:D3", 1), ("F2:G3", 0), ("A5:B6", 0), ("D3:E3", 1)]
)
def test_rows_with_merged_cells_are_rejected_and_say_so(take, merged, rejected):
    rows = (HEADER, ("A", "Lamp", 1, 1), ("B", "Box", 2, 2), ("C", "Bowl", 3, 3))
    run = take(book(*rows, merged=(merged,)))
    assert run.counts == counts(new=3 - rejected, rejected=rejected)
    assert (f"the cells {merged} are merged" in run.said) == bool(rejected)


def test_a_header_with_merged_cells_ends_the_import(take):
    assert "A1:A2 of the header are merged" in take(book(HEADER, ("A", "Lamp", 1, 1), merged=("A1:A2",))).refusal


def test_a_value_in_a_column_without_a_title_rejects_its_row(take):
    run = take([HEADER, ("A", "Lamp", 1, 1, None, "12"), ("B", "Box", 2, 2, None, " ")])
    assert run.counts == counts(new=1, rejected=1)
    assert "row 2: cell F2 has a value, but its column has no title" in run.said


def test_line_ends_of_old_spreadsheets_are_line_ends(take):
    take([(*HEADER, "description"), ("A", "Lamp", 1, 1, "One_x000D_\nTwo_x000D_")])
    assert Product.objects.get().description == "One\nTwo"


def test_columns_that_are_left_out_may_hold_anything(take):
    rows = [(*HEADER, "added"), ("A", "Lamp", 1, 1, datetime.date(2026, 1, 1)), ("B", "Box", 2, 2, "=1")]
    assert "'added' is unknown" in take(rows).refusal
    assert take(rows, "--ignore-unknown").counts == counts(new=2)


# Options


def test_a_sheet_is_chosen_by_name_or_is_the_first_visible_one(take):
    made = book(("nothing",))
    made.active.sheet_state = "hidden"
    for title, sku in (("Lamps", "L"), ("Boxes", "B")):
        sheet = made.create_sheet(title)
        sheet.append(HEADER)
        sheet.append((sku, title, 1, 1))
    made.active = 1
    run = take(made)
    assert "The sheet 'Lamps' is read, one of 2." in run.shown
    assert take(made, "--sheet=Boxes").counts == counts(new=1)
    assert [sku for sku, *_ in catalog()] == ["L", "B"]
    assert "There is no sheet 'x'; the sheets are 'Sheet', 'Lamps', 'Boxes'." in take(made, "--sheet=x").refusal


def test_titles_are_mapped(take):
    run = take(
        [("Code", "Title\nof it", "Cost"), ("A", "Lamp", 1)],
        "--map=sku=Code",
        "--map=name=Title of it",
        "--map=price=cost",
    )
    assert run.counts == counts(new=1)


def test_a_dry_run_shows_rows_and_writes_nothing(take):
    run = take([HEADER, ("A", "Lamp", 1.5, 1), ("A", "Lamp", "x", 1)], "--dry-run")
    assert "row 2: A: new: sku A, name Lamp, price 1.50, stock 1" in run.shown
    assert not Product.objects.exists() and run.rejects is None


def test_skus_are_taken_once(take):
    assert "row 3: sku: Row 2 has the same sku." in take([HEADER, ("A", "Lamp", 1, 1), ("A", "Box", 1, 1)]).said


@pytest.mark.parametrize("text, system, expected", [(SHOPIFY, "Shopify", (3, 1)), (WOO, "WooCommerce", (3, 0))])
def test_presets_read_workbooks_as_they_read_csv(take, load, text, system, expected):
    rows = list(csv.reader(io.StringIO(text)))
    run = take(rows)
    assert run.counts == counts(new=expected[0], rejected=expected[1])
    assert f"The file is read as one of {system}." in run.shown
    assert load(text).counts == counts(unchanged=expected[0], rejected=expected[1])


@pytest.mark.parametrize("decimal", [(), ("--decimal=comma",), ("--decimal=point",)])
def test_rejects_can_be_corrected_and_imported(take, tmp_path, decimal):
    rows = [
        HEADER,
        ("=1", "=Lamp", 1234.5, 1),
        ("B", "#rejected x", 7, "many"),
        ("C", '\'=Box, "big"', 1.25, 1),
        ("D", "", 1, 1),
    ]
    made = book(*rows)
    made.active["A2"].data_type = "s"
    made.active["B2"].data_type = "s"
    made.active["D2"].value = "few"
    made.active["D4"].value = "few"
    made.active["B3"].alignment = Alignment(wrap_text=True)
    run = take(made, *decimal)
    assert run.counts == counts(rejected=4)
    path = tmp_path / "catalog.xlsx.rejects.csv"
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    path.write_text(path.read_text("utf-8-sig").replace('"few"', '"4"').replace('"many"', '"5"'))
    again = Imported(path, *decimal)
    assert again.counts == counts(new=3, rejected=1), again.said
    assert [(sku, name, price) for sku, name, price, *_ in catalog()] == [
        ("=1", "=Lamp", Decimal("1234.50")),
        ("B", "#rejected x", 7),
        ("C", '=Box, "big"', Decimal("1.25")),
    ]
    assert (tmp_path / "catalog.xlsx.rejects.csv.rejects").exists()


def test_standard_input_can_be_a_workbook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content(book(HEADER, ("A", "Lamp", 1, 1))))))
    assert Imported(Path("-"), "--format=xlsx").counts == counts(new=1)


# Broken and hostile files


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "not a workbook"),
        (b"PK\x03\x04 nonsense", "not a workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "or it has a password"),
        (b"sku,name,price\nA,Lamp,1\n", "not a workbook"),
    ],
)
def test_a_file_that_is_no_workbook_is_refused_in_one_line(take, data, reason):
    run = take(data)
    assert run.code == 1 and reason in run.refusal and "\n" not in run.refusal
    assert run.rejects is None


def sheet_of(text: str) -> bytes:
    """A workbook whose sheet is this XML."""
    return rewritten(content(book(HEADER)), lambda _: text)


HEAD = f'<worksheet xmlns="{workbooks._MAIN}"><sheetData>'
TITLES = "".join(
    f'<c r="{cell}1" t="inlineStr"><is><t>{title}</t></is></c>' for cell, title in zip("ABC", HEADER, strict=False)
)
FIRST = f'{HEAD}<row r="1">{TITLES}</row>'
TAIL = "</sheetData></worksheet>"


@pytest.mark.parametrize(
    "text, reason",
    [
        (f"<!DOCTYPE x>{FIRST}{TAIL}", "document type"),
        (f'<!DOCTYPE x [<!ENTITY a "b">]>{FIRST}{TAIL}', "not a workbook that can be read"),
        (f'{FIRST}<row r="1"><c r="A1"><v>1</v></c></row>{TAIL}', "row 1 follows row 1"),
        (f'{FIRST}<row r="3"/><row r="2"/>{TAIL}', "row 2 follows row 3"),
        (f'{FIRST}<row r="99999999"/>{TAIL}', "row 99999999 follows"),
        (f'{FIRST}<row r="2"><c r="B7"><v>1</v></c></row>{TAIL}', "row 2 has the cell B7 in the wrong place"),
        (f'{FIRST}<row r="2"><c r="B2"/><c r="A2"><v>1</v></c></row>{TAIL}', "the cell A2 in the wrong place"),
        (f'{FIRST}<row r="2">{"<c/>" * 16_385}</row>{TAIL}', "row 2: more than 16,384 cells"),
        (f'{FIRST}<row r="2"><c t="inlineStr"><is><t>{"a" * 5_000_000}</t></is></c></row>{TAIL}', "row 2: longer than"),
        (f'{FIRST}<row r="2"><c r="A2" t="s"><v>7</v></c></row>{TAIL}', "not a workbook that can be read"),
        (f'{FIRST}<row r="2"><c r="A2"><v>x</v></c></row>{TAIL}', "not a workbook that can be read"),
        (f"{FIRST}<row", "not a workbook that can be read"),
    ],
)
def test_a_damaged_or_hostile_sheet_is_refused_in_one_line(take, text, reason):
    run = take(sheet_of(text))
    assert run.code == 1 and reason in run.refusal and "\n" not in run.refusal
    assert not Product.objects.exists()


def test_too_many_merged_ranges_are_refused(take, monkeypatch):
    monkeypatch.setattr(workbooks, "MAX_NOTED", 10)
    ranges = "".join(f'<mergeCell ref="A{n}:B{n}"/>' for n in range(2, 20))
    assert (
        "More than 10 cells are merged"
        in take(sheet_of(f"{FIRST}</sheetData><mergeCells>{ranges}</mergeCells></worksheet>")).refusal
    )


@pytest.mark.parametrize(
    "limit, part",
    [("MAX_SHEET", PATH), ("MAX_REST", "xl/sharedStrings.xml"), ("MAX_REST", "xl/media/image1.png")],
)
def test_a_part_that_unpacks_to_too_much_is_refused_before_it_is_read(take, monkeypatch, limit, part):
    monkeypatch.setattr(workbooks, limit, 2**20)
    data = content(book(HEADER, ("A", "Lamp", 1, 1)))
    assert take(data).counts == counts(new=1)
    stream = io.BytesIO(rewritten(data, lambda text: f"{text}<!--{' ' * 2**21}-->", part))
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        if part not in archive.namelist():
            archive.writestr(part, bytes(2**21))
    assert "The workbook is too large" in take(stream.getvalue()).refusal


def test_a_sheet_that_pretends_to_hold_the_texts_is_within_their_limit(take, monkeypatch):
    monkeypatch.setattr(workbooks, "MAX_REST", 2**20)
    data = rewritten(content(book(HEADER)), lambda text: f"{text}<!--{' ' * 2**21}-->")
    twice = f'<Override PartName="/{PATH}" ContentType="application/x"/></Types>'
    pretending = rewritten(data, lambda text: text.replace("</Types>", twice), "[Content_Types].xml")
    assert "The workbook is too large" in take(pretending).refusal


MEASURED = """
import resource, sys
from product_svc.files import Reading
from product_svc.workbooks import read_workbook
with open(sys.argv[1], "rb") as source:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(1 for _ in read_workbook(source, Reading()).records)
    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_memory_does_not_grow_with_the_rows(tmp_path):
    def used(rows: int) -> int:
        row = "<row>{}</row>".format("".join(f'<c t="inlineStr"><is><t>{"x" * 40}</t></is></c>' for _ in "abc"))
        path = tmp_path / "large.xlsx"
        path.write_bytes(sheet_of(FIRST + row * rows + TAIL))
        setup = (
            "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'product_svc.settings'\nimport django; django.setup()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", setup + MEASURED, str(path)], capture_output=True, text=True, check=True
        )
        count, size = map(int, done.stdout.split())
        assert count == rows
        return size

    assert used(24_000) < used(2_000) + 5_000  # KiB; the XML has 6 MB more, and its values twice that


def test_without_openpyxl_it_says_how_to_install_it(take, monkeypatch):
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("openpyxl"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    data = content(book(HEADER))
    monkeypatch.setattr(builtins, "__import__", without)
    run = take(data)
    assert run.refusal == "Workbooks need openpyxl: pip install -r requirements-xlsx.txt"
    assert run.rejects is None


def test_the_library_is_loaded_for_workbooks_alone():
    code = "import django; django.setup(); import product_svc.workbooks, sys; print('openpyxl' in sys.modules)"
    environment = {**plain_environment(), "DJANGO_SETTINGS_MODULE": "product_svc.settings"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.stdout == "False\n", done.stderr


def test_the_record_of_a_row_is_a_line_of_csv(tmp_path):
    path = tmp_path / "c.xlsx"
    path.write_bytes(content(book(HEADER, ("A", "La, mp", 1.5, None))))
    with path.open("rb") as source:
        header, records, notes, unit = workbooks.read_workbook(source, Reading())
        (record,) = records
    assert (header, record.raw, notes, unit) == ('"sku","name","price","stock"\n', '"A","La, mp","1.5",""\n', [], "row")
