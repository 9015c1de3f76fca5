"""`import_products --dry-run`."""

import pytest

from product_svc.management.commands import import_products as commands
from product_svc.models import Product
from tests.product_svc.runs import HEADER, counts, everything

pytestmark = pytest.mark.django_db
LINES = f"{HEADER}L-1,Desk lamp,39.90,8\nL-2,Box,1.5,\nL-3,Bowl,2,1\nL-4,,1,1\n"


def test_a_dry_run_shows_old_and_new_values_and_writes_nothing(load, lamp, add, tmp_path):
    add(sku="L-3", name="Bowl", price="2.00", stock=1)
    before = everything()
    run = load(LINES, "--dry-run")
    assert run.code == 1
    assert run.counts == counts(new=1, changed=1, unchanged=1, rejected=1)
    assert run.shown[:-1] == [
        "Dry run: nothing is written.",
        "line 2: L-1: price 49.90 → 39.90, stock 5 → 8",
        "line 3: L-2: new: sku L-2, name Box, price 1.50",
    ]
    assert "line 5: name: " in run.said
    assert "nothing was written" in run.refusal
    assert everything() == before
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.csv"]


def test_the_counts_are_those_of_the_import(load, lamp, add):
    box = add(name="Box")
    content = (
        f"id,sku,name,price,stock\n{box['id']},B-1,Box,10,0\n,L-1,Lamp,1,1\n{lamp['id']},,Desk lamp,1,1\n"
        f"{box['id']},,Crate,10,0\n,N,New,1,1\n,N,New,1,1\n"
    )
    planned = load(content, "--dry-run")
    assert planned.counts == load(content).counts == counts(new=1, changed=2, rejected=3)
    assert "line 2: B-1: sku (empty) → B-1" in planned.shown


def test_the_file_of_rejects_of_an_earlier_import_stays(load):
    load(f"{HEADER}A,,1,1\n")
    run = load(f"{HEADER}A,Lamp,1,1\n", "--dry-run")
    assert run.code == 0
    assert "A,,1,1" in run.rejects
    assert not Product.objects.exists()


def test_only_the_first_products_are_shown_and_long_texts_are_cut(load, monkeypatch):
    monkeypatch.setattr(commands, "MAX_PREVIEWED", 2)
    long = "x" * 100 + "\x1b[2J"
    run = load(
        f"sku,name,price,description\nS0,Lamp,1,\x1b[2J\nS1,Lamp,1,{long}\nS2,Lamp,1,\nS3,Lamp,1,\n", "--dry-run"
    )
    assert run.counts == counts(new=4)
    assert run.shown[2].endswith(f"description {'x' * 59}…")
    assert run.shown[3] == "Further products are only counted."
    assert "\x1b" not in "".join(run.shown)
