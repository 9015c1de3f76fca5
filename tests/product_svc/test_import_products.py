"""`manage.py product_svc import_products`."""

import io
import subprocess
import sys
from urllib.parse import urlencode

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from platform_core.conf.environment import ROOT
from platform_core.events.models import Event
from product_svc import bulk, importing
from product_svc.management.commands import import_products as commands
from product_svc.models import Product, StockMovement
from tests.product_svc.runs import HEADER, Imported, counts, everything
from tests.suites import plain_environment
from tests.wire import at_once

pytestmark = pytest.mark.django_db


def test_a_csv_file_becomes_products_with_books_and_events(load, books_balance):
    run = load(
        'sku,name,price,stock,category,description\nA,"Lamp, ""big""",49.90,5,lights,"one\ntwo"\nB,Box,1e1,0,,\n'
    )
    assert (run.code, run.counts, run.rejects) == (0, counts(new=2), None)
    a, b = Product.objects.order_by("id")
    assert (a.sku, a.name, str(a.price), a.stock, a.category, a.description) == (
        *("A", 'Lamp, "big"', "49.90", 5),
        *("lights", "one\ntwo"),
    )
    assert (b.name, b.price, b.stock, b.category) == ("Box", 10, 0, "")
    assert list(StockMovement.objects.values_list("delta", "kind")) == [(5, "initial")]
    assert [event.type for event in Event.objects.all()] == ["product.created"] * 2
    assert books_balance()


def test_json_lines_become_products(load):
    run = load(
        '{"sku": "A", "name": "Lamp", "price": 49.9}\n\n{"name":"Box","sku":"B","price":"1","stock":2}', name="c.jsonl"
    )
    assert (run.code, run.counts) == (0, counts(new=2))
    assert list(Product.objects.order_by("id").values_list("sku", "stock")) == [("A", 0), ("B", 2)]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf%s\xc3\x84,Lamp,1,2\n", b"%s \xc3\x84 , Lamp , 1 , 2 \r\n"])
def test_a_byte_order_mark_windows_line_ends_and_spaces_are_no_matter(load, content):
    assert load(content % HEADER.encode()).code == 0
    assert Product.objects.values_list("sku", "name", "stock").get() == ("Ä", "Lamp", 2)


def test_it_reads_standard_input(load, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{HEADER}A,Lamp,1,2\n,Box,1,\n".encode())))
    rejects = tmp_path / "left-out"
    with pytest.raises(CommandError, match="left-out"):
        call_command("import_products", "-", "--format=csv", f"--rejects={rejects}", stdout=io.StringIO())
    assert Product.objects.count() == 1
    assert ",Box,1," in rejects.read_text()


def test_the_same_file_again_changes_nothing(load):
    content = HEADER + "".join(f"S{n},Lamp {n},{n}.50,{n}\n" for n in range(20))
    assert load(content).counts == counts(new=20)
    before = everything()
    assert load(content).counts == counts(unchanged=20)
    assert everything() == before


def test_a_product_that_is_there_is_changed_and_its_stock_adjusted(load, lamp, books_balance):
    run = load("sku,name,price,stock,category\nL-1,Desk lamp,39.90,8,\n")
    assert (run.code, run.counts) == (0, counts(changed=1))
    product = Product.objects.get()
    assert (product.pk, str(product.price), product.stock, product.category) == (int(lamp["id"]), "39.90", 8, "")
    assert product.description == "Bends any way."  # the file has no such column
    assert product.version == 2
    assert StockMovement.objects.values_list("delta", "kind", "stock").first() == (3, "adjustment", 8)
    events = Event.objects.order_by("id").values_list("type", "data__version", "data__stock", "data__delta")
    assert list(events)[1:] == [("product.updated", 2, 8, None), ("stock.changed", 2, 8, 3)]
    assert books_balance()


@pytest.mark.parametrize("content", ["sku,name,price,stock\nL-1,Lamp,1,\n", "sku,name,price\nL-1,Lamp,1\n"])
def test_a_stock_that_is_not_given_stays(load, lamp, content):
    assert load(content).counts == counts(changed=1)
    assert Product.objects.get().stock == 5
    assert StockMovement.objects.count() == 1
    assert list(Event.objects.order_by("id").values_list("type", flat=True)) == ["product.created", "product.updated"]


def test_only_products_that_differ_are_changed(load, django_assert_max_num_queries):
    lines = [f"S{n},Lamp,1,{n}\n" for n in range(50)]
    for _ in range(2):  # each makes a partition of the events ready; then there are enough
        load(HEADER + "".join(lines))
    lines[7], lines[9] = "S7,Lamp,1,70\n", "S9,Lantern,1,9\n"
    with django_assert_max_num_queries(15):
        assert load(HEADER + "".join(lines) + "NEW,Lamp,1,1\n").counts == counts(1, 2, 48)
    assert Product.objects.filter(version=2).count() == 2
    assert StockMovement.objects.filter(kind="adjustment").count() == 1


def test_the_sku_of_a_deleted_product_makes_a_new_one(api, load, lamp):
    api.delete(f"/api/products/{lamp['id']}")
    assert load(f"{HEADER}L-1,Lamp,1,2\n").counts == counts(new=1)


def test_a_line_without_a_sku_is_rejected_unless_allowed(load):
    content = f"{HEADER},Lamp,1,2\n"
    run = load(content)
    assert (run.code, run.counts) == (1, counts(rejected=1))
    assert "line 2: sku: " in run.said
    for number in (1, 2):
        assert load(content, "--allow-without-sku").counts == counts(new=1)
        assert Product.objects.count() == number


BY_ID = "id,sku,name,price,stock\n"


def test_a_product_without_a_sku_is_found_by_its_id_if_the_name_is_the_same(load, add, books_balance):
    lamp, box = add(name="Lamp", stock=1), add(name="Box")
    run = load(f"{BY_ID}{lamp['id']},,Lamp,12,3\n{box['id']},,Crate,10,0\n")
    assert (run.code, run.counts) == (1, counts(changed=1, rejected=1))
    assert f"line 3: id: Product {box['id']} is named 'Box', and 'Crate' in the file." in run.said
    assert list(Product.objects.order_by("pk").values_list("name", "price", "stock")) == [
        ("Lamp", 12, 3),
        ("Box", 10, 0),
    ]
    assert run.rejects.endswith(f"{box['id']},,Crate,10,0\n")
    assert books_balance()


def test_a_product_gets_the_sku_that_was_added_to_its_line(load, add):
    lamp = add(name="Lamp")
    content = f"{BY_ID}{lamp['id']},L-7,Lamp,10,0\n"
    assert load(content).counts == counts(changed=1)
    assert Product.objects.get().sku == "L-7"
    assert Event.objects.filter(type="product.updated", data__version=2).count() == 1
    assert load(content).counts == counts(unchanged=1)


def test_a_line_of_another_shop_is_about_another_product(load, lamp):
    """The id is taken here: by a product with a sku of its own, or by one with another name."""
    content = f"{BY_ID}{lamp['id']},X-1,{lamp['name']},1,1\n"
    assert load(content).counts == counts(new=1)
    assert load(content).counts == counts(unchanged=1)
    assert Product.objects.get(pk=lamp["id"]).sku == "L-1"


def test_a_sku_takes_precedence_over_an_id(load, add):
    first, second = add(name="Lamp", sku="A"), add(name="Lamp")
    assert load(f"{BY_ID}{second['id']},A,Lamp,77,0\n").counts == counts(changed=1)
    assert Product.objects.get(price=77).pk == int(first["id"])


@pytest.mark.parametrize("batch", [1, 500])
def test_two_lines_about_one_product_do_not_change_it_twice(load, add, monkeypatch, batch):
    monkeypatch.setattr(importing, "BATCH", batch)
    lamp = add(name="Lamp", sku="A")
    run = load(f"{BY_ID},A,Lamp,11,0\n{lamp['id']},,Lamp,12,0\n")
    assert run.counts == counts(changed=1, rejected=1)
    assert f"Product {lamp['id']} is on an earlier line, too." in run.said
    assert (Product.objects.get().price, Product.objects.get().sku) == (11, "A")


def test_an_id_that_no_product_has_adds_nothing_without_a_sku(load):
    content = f"{BY_ID}77,,Lamp,1,1\n78,S,Lamp,1,1\n"
    run = load(content)
    assert run.counts == counts(new=1, rejected=1)
    assert "There is no product 77" in run.said
    assert load(content).counts == counts(unchanged=1, rejected=1)


@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5", "9" * 19, "٣"])
def test_an_id_that_is_none_is_refused(load, text):
    run = load(f"{BY_ID}{text},A,Lamp,1,1\n")
    assert run.counts == counts(rejected=1)
    assert "line 2: id: Expected the id of a product" in run.said


def test_a_product_that_is_renamed_before_it_is_locked_is_looked_up_again(add):
    """Found by its id and name, it has another name when it is locked. Nothing is changed before the new lookup."""
    lamp = add(name="Box")
    values = {"sku": None, "name": "Lamp", "price": 1}
    with pytest.raises(bulk._Moved), transaction.atomic():
        bulk._change({int(lamp["id"]): bulk.Wanted(values, frozenset(values), int(lamp["id"]))})


BAD_LINES = {
    "X,,1,1": "name: This field may not be blank.",
    "X,Lamp,-1,1": "price: ",
    "X,Lamp,1.999,1": "price: ",
    "X,Lamp,,1": "price: ",
    "X,Lamp,1,1.5": "stock: ",
    "X,Lamp,1,2147483648": "stock: ",
    "X,Lamp,1": "expected 4 cells, found 3",
    "X,Lamp,1,1,1": "expected 4 cells, found 5",
    'X,"Lamp"s,1,1': "',' expected after",
    "A,Lamp,1,1": "sku: Line 2 has the same sku.",
    f"{'x' * 65},Lamp,1,1": "sku: ",
    "X,Lamp\x00,1,1": "name: ",
    "X,Lämp\udcff,1,1": "not UTF-8",
    'X,"Lamp,1,1': "unexpected end of data",
}


@pytest.mark.parametrize("bad, reason", BAD_LINES.items(), ids=ascii)
def test_a_bad_line_is_named_and_left_out_and_the_others_are_taken(load, bad, reason):
    run = load(f"{HEADER}A,Lamp,1,1\n{bad}\r\nB,Box,1,1\n".encode(errors="surrogateescape"))
    assert (run.code, run.counts) == (1, counts(new=2, rejected=1))
    assert f"line 3: {reason}" in run.said
    assert "catalog.csv.rejects" in run.refusal
    header, why, raw = run.rejects.split("\n", 2)
    assert header + "\n" == HEADER
    assert why.startswith(f"#rejected line 3: {reason}")
    assert raw == f"{bad}\r\n"
    assert list(Product.objects.order_by("id").values_list("sku", flat=True)) == ["A", "B"]


@pytest.mark.parametrize(
    "bad, reason",
    {
        "{": "",
        "[]": "",
        "null": "",
        "7": "",
        "[" * 5000: "",
        '{"sku": "X", "name": "Lamp", "price": NaN}': "",
        '{"sku": "X", "name": "Lamp"}': "price: This field is required.",
        '{"sku": "X", "name": "Lamp", "price": 1, "stock": null}': "stock: ",
        '{"sku": "X", "name": "Lamp", "price": 1, "colour": "red"}': "'colour' is unknown",
        '{"sku": "A", "name": "Lamp", "price": 1}': "sku: Line 1 has the same sku.",
    }.items(),
    ids=lambda text: text[:40],
)
def test_a_bad_line_of_json_is_named_and_left_out_and_the_others_are_taken(load, bad, reason):
    good = ['{"sku": "A", "name": "Lamp", "price": 1}', '{"sku": "B", "name": "Lamp", "price": 1}']
    run = load(f"{good[0]}\n{bad}\n{good[1]}\n", name="catalog.jsonl")
    assert (run.code, run.counts) == (1, counts(new=2, rejected=1))
    assert f"line 2: {reason}" in run.said
    assert run.rejects.split("\n", 1)[1] == f"{bad}\n"


def test_all_errors_of_a_line_are_reported(load):
    assert "line 2: name: This field may not be blank.; price: " in load(f"{HEADER}X,,-1,1\n").said


def test_lines_are_counted_as_an_editor_counts_them(load):
    run = load('sku,name,price,description\nA,Lamp,1,"one\ntwo\nthree"\n\nB,,1,\n')
    assert "line 6: name" in run.said


def test_rejected_lines_can_be_corrected_and_imported(load, tmp_path):
    load(f"{HEADER}A,Lamp,1,1\nB,,1,1\nC,Box,1,-1\n")
    rejects = tmp_path / "catalog.csv.rejects"
    rejects.write_text(rejects.read_text().replace("B,,", "B,Bowl,"))
    run = Imported(rejects)
    assert run.counts == counts(new=1, rejected=1)
    assert "line 5: stock" in run.said
    rejects.write_text(rejects.read_text().replace("-1", "1"))
    assert Imported(rejects).counts == counts(new=1, unchanged=1)
    assert Product.objects.count() == 3


def test_a_run_without_bad_lines_leaves_no_rejects_of_an_earlier_one(load):
    assert load(f"{HEADER}A,,1,1\n").rejects
    assert load(f"{HEADER}A,Lamp,1,1\n").rejects is None


def test_an_unclosed_quote_only_affects_its_own_line(load):
    lines = [f"S{n},Lamp,1,1\n" for n in range(6000)]
    lines[10] = 'S10,"Lamp,1,1\n'
    run = load(HEADER + "".join(lines))
    assert run.counts == "5,999 new, 0 changed, 0 unchanged, 1 rejected."
    assert "line 12: " in run.said


@pytest.mark.parametrize(
    "content, reason",
    [
        ("sku,name,price,colour\n", "'colour' is unknown"),
        ("sku,name,colour,price,size\n", "'colour', 'size' are unknown"),
        ("sku,name,,price\n", "'' is unknown"),
        ("sep=;\nsku,name,price\n", "'sku,name,price' is unknown"),
        ("sku,name\n", "'price' is missing"),
        ("sku,name,price,Name\n", "twice"),
        ("", "line 1: expected a header"),
        ("\n\n", "expected a header"),
        ('sku,"name\n', "expected a header"),
        (b"\xff\xfes\x00k\x00u\x00", "not UTF-16"),
        ("sku,name,price\n".encode("utf-16-le"), "--encoding utf-16-le"),
        (b"\x00" * 2**20 + b"\x00", "longer than"),
    ],
)
def test_an_invalid_header_is_reported_at_once(load, content, reason):
    head = content if isinstance(content, bytes) else content.encode()
    run = load(head + b"A,Lamp,1,1\n" * 3 if head else head)
    assert run.code == 1
    assert reason in run.refusal
    assert not Product.objects.exists()
    assert run.rejects is None


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (("nowhere.csv",), "No such file"),
        (("catalog.txt",), "--format"),
        (("catalog.XLS",), "is a workbook of another format"),
        (("catalog.csv", "--sheet=x"), "--sheet is for workbooks"),
        (("catalog.xlsx", "--encoding=cp1252"), "--encoding is not for workbooks"),
        (("-",), "--format"),
        (("setup.csv", "--rejects=setup.csv"), "overwrite"),
    ],
)
def test_errors_are_reported_in_one_line(arguments, reason):
    with pytest.raises(CommandError, match=reason):
        call_command("import_products", *arguments)


def test_a_file_that_is_already_there_as_rejects_cannot_be_overwritten_by_itself(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(f"{HEADER}A,Lamp,1,1\n")
    assert "overwrite" in Imported(path, f"--rejects={path}").refusal
    assert path.read_text().startswith(HEADER)


def test_a_batch_is_a_transaction_and_no_larger_than_it_may_be(load, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 4)
    sizes, merge = [], importing.merge_products

    def counted(wanted, **options):
        sizes.append(len(wanted))
        return merge(wanted, **options)

    monkeypatch.setattr(importing, "merge_products", counted)
    load(HEADER + "".join(f"S{n},Lamp,1,1\n" for n in range(10)))
    assert sizes == [4, 4, 2]


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(load, monkeypatch):
    monkeypatch.setattr(commands, "LINE_EVERY", 0)
    content = f"{HEADER}A,Lamp,1,1\nB,,1,1\n"
    first, *_, last = load(content).shown
    assert (first, last) == (f"So far {counts(new=1, rejected=1)}", counts(new=1, rejected=1))
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich treats the stream as a terminal
    monkeypatch.setenv("COLUMNS", "200")
    shown = "\n".join(load(content).shown)
    for text in ("line 3: name", "━━━", "0 new, 0 changed, 1 unchanged, 1 rejected"):
        assert text in shown


@pytest.fixture
def killed(tmp_path):
    """Runs a command in a process that dies at the failpoint. Returns the exit code."""

    def killed(point: str, *arguments: str) -> int:
        failpoints = tmp_path / "failpoints"
        failpoints.mkdir()
        (failpoints / point).touch()
        place = connection.get_connection_params()
        names = ("user", "password", "host", "port")
        url = f"postgresql:///{place['dbname']}?" + urlencode({n: place[n] for n in names if place.get(n)})
        environment = {**plain_environment(), "PRODUCT_DATABASE_URL": url, "PLATFORM_FAILPOINTS": str(failpoints)}
        command = [sys.executable, "manage.py", "product_svc", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120).returncode

    return killed


@pytest.mark.django_db(transaction=True)
def test_killed_half_way_what_was_committed_stays_and_running_again_completes_it(tmp_path, killed, books_balance):
    path = tmp_path / "catalog.csv"
    path.write_text(HEADER + "".join(f"S{n},Lamp {n},1,{n}\n" for n in range(1200)))
    assert killed("import.batch", "import_products", str(path)) == -9
    assert Product.objects.count() == Event.objects.count() == importing.BATCH
    assert Imported(path).counts == counts(new=700, unchanged=500)
    assert Product.objects.count() == Event.objects.count() == 1200
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_concurrent_imports_of_one_file_add_each_product_once(tmp_path, monkeypatch, add, books_balance):
    monkeypatch.setattr(importing, "BATCH", 20)
    add(sku="S5", stock=3)
    add(sku="S50", name="Lamp 50", price=1, stock=50)
    lines = [f"S{n},Lamp {n},1,{n}\n" for n in range(100)]
    paths = [tmp_path / f"{n}.csv" for n in range(4)]
    for path in paths:
        path.write_text(HEADER + "".join(lines if int(path.stem) % 2 else reversed(lines)))
    runs = at_once([lambda path=path: Imported(path) for path in paths])
    assert {run.code for run in runs} == {0}, [run.said for run in runs]
    numbers = [[int(word) for word in run.counts.replace(",", "").split() if word.isdigit()] for run in runs]
    assert [sum(column) for column in zip(*numbers, strict=True)] == [98, 1, 301, 0]
    assert Product.objects.count() == 100
    assert Event.objects.filter(type="product.created").count() == 100
    assert list(Product.objects.filter(version=2).values_list("sku", flat=True)) == ["S5"]
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_orders_during_an_import_keep_stock_equal_to_its_movements(tmp_path, monkeypatch, add, reserve, books_balance):
    monkeypatch.setattr(importing, "BATCH", 5)
    products = [add(sku=f"S{n}", stock=50) for n in range(20)]
    paths = [tmp_path / f"{n}.csv" for n in range(3)]
    for path in paths:
        path.write_text(HEADER + "".join(f"S{n},Lamp,1,{40 + int(path.stem)}\n" for n in range(20)))

    def order(number: int) -> None:
        for turn in range(5):
            pieces = {products[(number + step) % 20]["id"]: 1 for step in range(0, 20, 3)}
            assert reserve(100 * number + turn, pieces).status_code == 201

    calls = [*(lambda path=path: Imported(path) for path in paths), *(lambda n=n: order(n) for n in range(3))]
    assert {run.code for run in at_once(calls)[:3]} == {0}
    assert books_balance()


@given(
    content=st.binary(max_size=200) | st.text("ab\"',\n\r#=1 ", max_size=60).map(str.encode),
    kind=st.sampled_from(("csv", "jsonl")),
)
def test_each_line_of_any_file_is_imported_or_reported(load, content, kind):
    head = HEADER.encode() if kind == "csv" else b""
    run = load(head + content, name=f"c.{kind}")
    numbers = [int(word) for word in run.counts.split() if word.isdigit()]
    assert run.code == bool(numbers[3])
    texts = [content.decode(encoding, errors="surrogateescape") for encoding in ("utf-8", "cp1252")]
    for line in (run.rejects or "").splitlines(keepends=True)[bool(head) :]:
        assert line.startswith("#rejected ") or any(line.rstrip("\r\n") in text for text in texts)
