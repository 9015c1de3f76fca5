"""Files that are uploaded in the admin: a preview, the import as a job, the rejected lines, and the export."""

import io
import json
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.urls import reverse

from platform_core.http import request_body
from platform_core.jobs import ChunkReader, Job, JobChunk, files, queue, run_jobs
from product_svc import file_jobs, importing
from product_svc.bulk import merge_products
from product_svc.models import Product
from tests.admin_pages import said
from tests.clients import Browser
from tests.product_svc.test_import_workbooks import book, content

pytestmark = pytest.mark.django_db
PAGE = "/admin/product_svc/product/files/"
UPLOAD = "/admin/product_svc/product/files/upload/"
HEAD = "sku,name,price,stock\n"


def csv_of(*rows):
    return (HEAD + "".join(f"{row}\n" for row in rows)).encode()


def send(client, content, name="shop.csv", **form):
    return client.post(UPLOAD, {"file": SimpleUploadedFile(name, content), **form}, follow=True)


def work():
    while run_jobs(threading.Event()):
        pass


def previewed(client, content, **form):
    answer = send(client, content, **form)
    assert answer.redirect_chain, said(answer)
    work()
    job = Job.objects.get(kind=file_jobs.PREVIEW)
    assert job.state == "done", job.error
    return job


def previewed_again(client, content, **form):
    Job.objects.all().delete()
    return previewed(client, content, **form)


def imported(client, job):
    answer = client.post(reverse("admin:product_import", args=[job.pk]))
    assert answer.status_code == 302
    work()
    return Job.objects.get(kind=file_jobs.IMPORT)


def page_of(client, job):
    return client.get(reverse("admin:jobs_job_change", args=[job.pk])).content.decode()


def nothing_is_left():
    return not Job.objects.exists() and not JobChunk.objects.exists()


def test_a_file_is_previewed_and_then_imported(admin_client, add, books_balance):
    add(sku="A-1", name="Lamp", price=1, stock=1)
    content = csv_of("A-1,Lamp,2.50,4", "B-1,Desk,30,2", "C-1,,1,1", "D-1,Chair,dear,1")
    job = previewed(admin_client, content)
    assert (job.done, job.changed, job.refused) == (4, 2, 2)
    assert Product.objects.count() == 1 and Product.objects.get().price == 1, "nothing is written"
    page = page_of(admin_client, job)
    for text in (
        "1 new, 1 changed, 0 unchanged, 2 rejected",
        "price 1.00 → 2.50",
        "new: sku B-1",
        "line 4: name:",
        "line 5: price:",
    ):
        assert text in page, text
    done = imported(admin_client, job)
    assert (done.state, done.total, done.done, done.changed, done.refused) == ("done", 4, 4, 2, 2)
    assert dict(Product.objects.values_list("sku", "stock")) == {"A-1": 4, "B-1": 2}
    assert books_balance()
    assert not JobChunk.objects.filter(part="upload").exists(), "the file is erased after its import"
    rejects = admin_client.get(reverse("admin:jobs_job_rejects", args=[done.pk]))
    assert rejects["Content-Disposition"] == 'attachment; filename="shop.csv.rejects"'
    lines = rejects.getvalue().decode().splitlines()
    assert lines[0] == HEAD.strip() and lines[2] == "C-1,,1,1" and lines[4] == "D-1,Chair,dear,1"
    assert lines[1].startswith("#rejected line 4: name:")


def test_a_workbook_is_previewed_and_then_imported(admin_client, add, books_balance):
    add(sku="A-1", name="Lamp", price=1, stock=1)
    rows = [("A-1", "Lamp", 2.5, 4), ("B-1", "Desk", 30, 2), ("C-1", "", 1, 1), ("D-1", "Chair", "dear", 1)]
    job = previewed(admin_client, content(book(HEAD.strip().split(","), *rows)), name="Shop.xlsx")
    assert (job.done, job.changed, job.refused) == (4, 2, 2)
    assert Product.objects.get().price == 1, "nothing is written"
    page = page_of(admin_client, job)
    for text in ("1 new, 1 changed, 0 unchanged, 2 rejected", "price 1.00 → 2.50", "row 4: name:", "row 5: price:"):
        assert text in page, text
    done = imported(admin_client, job)
    assert (done.state, done.total, done.done, done.changed, done.refused) == ("done", 4, 4, 2, 2)
    assert dict(Product.objects.values_list("sku", "stock")) == {"A-1": 4, "B-1": 2}
    assert books_balance()
    rejects = admin_client.get(reverse("admin:jobs_job_rejects", args=[done.pk]))
    assert rejects["Content-Disposition"] == 'attachment; filename="Shop.xlsx.rejects.csv"'
    corrected = rejects.getvalue().replace(b'"dear"', b'"9"').replace(b'"C-1",""', b'"C-1","Cup"')
    again = previewed_again(admin_client, corrected)
    assert (again.done, again.changed, again.refused) == (2, 2, 0), "the corrected rejects are a file to import"


def test_a_workbook_that_cannot_be_read_fails_with_the_reason(admin_client):
    send(admin_client, b"PK\x03\x04 no workbook", name="shop.xlsx")
    work()
    job = Job.objects.get()
    assert job.state == "failed" and "workbook" in job.error
    assert not JobChunk.objects.exists()


def test_the_page_names_all_kinds_of_files_that_are_taken(admin_client):
    text = " ".join(admin_client.get(PAGE).content.decode().split())
    assert "Files that end in .csv, .jsonl, .ndjson, .tsv, .xlsx or .xlsm, at most 64 MiB." in text


def test_a_file_is_imported_once(admin_client):
    job = previewed(admin_client, csv_of("A-1,Lamp,2,4"))
    imported(admin_client, job)
    answer = admin_client.post(reverse("admin:product_import", args=[job.pk]), follow=True)
    assert said(answer) == ["The file was imported already, or has been erased. Upload it again."]
    assert Job.objects.filter(kind=file_jobs.IMPORT).count() == 1


def test_options_of_the_form_are_used(admin_client):
    content = "sku;name;price;stock;odd\nA-1;Lamp;1.234,50;3;x\n".encode("cp1252")
    job = previewed(admin_client, content, decimal="comma", ignore_unknown="on")
    assert job.result["notes"] == ["The columns are separated by semicolons.", "Ignored columns: odd."]
    imported(admin_client, job)
    assert str(Product.objects.get().price) == "1234.50"


def test_a_file_that_cannot_be_read_fails_with_the_reason(admin_client):
    send(admin_client, b"colour,size\nred,1\n")
    work()
    job = Job.objects.get()
    assert job.state == "failed" and "colour" in job.error
    assert job.error in page_of(admin_client, job).replace("&#x27;", "'").replace("&quot;", '"')
    assert not JobChunk.objects.exists()


def test_many_pieces_make_one_file(admin_client, monkeypatch):
    monkeypatch.setattr(files, "CHUNK_BYTES", 100)
    rows = [f"S-{n},Lamp {n} ü,2,{n}" for n in range(1, 200)]
    job = previewed(admin_client, csv_of(*rows))
    assert JobChunk.objects.filter(job=job, part="upload").count() > 30
    reader = ChunkReader(job, "upload")
    assert io.BufferedReader(reader).read() == csv_of(*rows)
    assert reader.seek(150) == 150 and reader.read(10) == csv_of(*rows)[150:160]
    assert reader.seek(0, io.SEEK_END) == len(csv_of(*rows)) and reader.read(1) == b""
    imported(admin_client, job)
    assert Product.objects.count() == 199


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_an_import_goes_on_behind_the_batch_that_was_written_last(admin_client, monkeypatch, moment):
    monkeypatch.setattr(importing, "BATCH", 10)
    rows = [f"S-{n},Lamp,2,{n}" if n % 7 else f"S-{n},,2,{n}" for n in range(1, 46)]
    job = previewed(admin_client, csv_of(*rows, "S-1,Again,1,1"))
    calls = []

    def dying(wanted, *, taken=frozenset()):
        calls.append(len(wanted))
        result = merge_products(wanted, taken=taken)
        if len(calls) == 3 and moment == "before the commit":
            raise Killed
        return result

    def reached(name):
        if len(calls) == 3 and moment == "after the commit":
            calls.append(0)
            raise Killed

    monkeypatch.setattr(importing, "merge_products", dying)
    monkeypatch.setattr(importing, "reached", reached)
    with pytest.raises(Killed):
        imported(admin_client, job)
    half = Job.objects.get(kind=file_jobs.IMPORT)
    assert half.changed == Product.objects.count() == (20 if moment == "before the commit" else 30)
    Job.objects.update(leased_until=queue.Now() - timedelta(seconds=1))
    work()
    half.refresh_from_db()
    assert (half.state, half.done, half.changed, half.unchanged, half.refused) == ("done", 46, 39, 0, 7)
    assert Product.objects.count() == 39 and half.result["counts"]["new"] == 39
    rejects = admin_client.get(reverse("admin:jobs_job_rejects", args=[half.pk])).getvalue().decode()
    assert [rejects.count(f"\nS-{n},") for n in (7, 14, 21, 28, 35, 42)] == [1] * 6
    assert "Line 2 has the same sku" in rejects and len(half.result["errors"]) == 7


@pytest.mark.django_db(transaction=True)
def test_an_import_is_stopped_between_two_batches(admin_client, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 10)
    job = previewed(admin_client, csv_of(*(f"S-{n},Lamp,2,{n}" for n in range(1, 46))))

    def stop():
        assert queue.stop(Job.objects.get(kind=file_jobs.IMPORT))
        connection.close()

    def stopping(wanted, *, taken=frozenset()):
        if Product.objects.count() == 20:
            thread = threading.Thread(target=stop)
            thread.start()
            thread.join(timeout=30)
        return merge_products(wanted, taken=taken)

    monkeypatch.setattr(importing, "merge_products", stopping)
    done = imported(admin_client, job)
    assert (done.state, done.changed, Product.objects.count()) == ("stopped", 20, 20)
    assert not JobChunk.objects.filter(part="upload").exists()


WRONG = {
    "no file": ({"decimal": ""}, "Choose a file."),
    "an empty file": ({"file": SimpleUploadedFile("a.csv", b"")}, "The file is empty."),
    "an image": ({"file": SimpleUploadedFile("a.png", b"PK")}, "a.png: expected a file that ends in .csv"),
    "no suffix": ({"file": SimpleUploadedFile("products", b"x")}, "products: expected a file"),
    "another field": ({"other": SimpleUploadedFile("a.csv", b"x")}, "Expected one file."),
    "two files": (
        {"file": SimpleUploadedFile("a.csv", b"x"), "more": SimpleUploadedFile("b.csv", b"x")},
        "Expected one file.",
    ),
}


@pytest.mark.parametrize("form, says", WRONG.values(), ids=WRONG)
def test_a_wrong_upload_is_refused_with_a_clear_error_and_leaves_nothing(admin_client, form, says):
    for upload in form.values():
        if hasattr(upload, "seek"):
            upload.seek(0)
    answer = admin_client.post(UPLOAD, form)
    assert answer.status_code == 400
    assert says in " ".join(said(answer))
    assert nothing_is_left()


def test_a_wrong_option_is_refused_and_leaves_nothing(admin_client):
    answer = send(admin_client, csv_of("A-1,Lamp,2,4"), decimal="both")
    assert answer.status_code == 400 and answer.context["form"].errors
    assert nothing_is_left()


BODY = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nsku,name,price\r\n'
MALFORMED = {
    "no boundary": ("multipart/form-data", BODY, "The form cannot be read"),
    "no end": ("multipart/form-data; boundary=b", BODY, "The form ends in the middle of the file."),
    "JSON": ("application/json", b"{}", "multipart/form-data"),
    "a large body that is no form": ("application/x-www-form-urlencoded", b"a=" + b"x" * 2**21, "multipart/form-data"),
}


@pytest.mark.parametrize("content_type, body, says", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_form_is_refused_and_leaves_nothing(admin_client, content_type, body, says):
    answer = admin_client.generic("POST", UPLOAD, body, content_type=content_type)
    assert answer.status_code == 400 and says in " ".join(said(answer))
    assert nothing_is_left()


def test_a_body_that_ends_early_is_refused_and_leaves_nothing(admin_client, monkeypatch):
    monkeypatch.setattr(files, "CHUNK_BYTES", 16)
    sent = BODY + b"x" * 1000
    answer = admin_client.generic(
        "POST", UPLOAD, sent, content_type="multipart/form-data; boundary=b", CONTENT_LENGTH=str(len(sent) + 500)
    )
    assert answer.status_code == 400 and said(answer) == ["The upload was broken off."]
    assert nothing_is_left()


def test_more_than_64_mib_are_refused_with_a_page_that_says_so(admin_client, monkeypatch):
    monkeypatch.setattr("platform_core.http.middleware.MAX_UPLOAD_BYTES", 2 * 2**20)
    monkeypatch.setattr("platform_core.jobs.uploads.MAX_UPLOAD_BYTES", 2 * 2**20)
    for size in (2 * 2**20 + 100, 3 * 2**20):
        answer = admin_client.post(
            UPLOAD, {"file": SimpleUploadedFile("a.csv", b"x" * size)}, headers={"Accept": "text/html"}
        )
        text = answer.content.decode()
        assert "The file is larger than 2 MiB." in text and answer.status_code in (400, 413)
        assert nothing_is_left()
    assert (request_body.MAX_UPLOAD_BYTES, request_body.MAX_BODY_BYTES) == (64 * 2**20, 2**20)


def test_only_this_upload_may_be_large(admin_client):
    for page in (PAGE, "/admin/product_svc/product/add/"):
        answer = admin_client.post(page, {"file": SimpleUploadedFile("a.csv", b"x" * 2**21)})
        assert answer.status_code == 413, page


def test_a_forged_upload_is_refused_and_leaves_nothing(admin_user):
    forger = Browser(forges=True)
    forger.force_login(admin_user)
    answer = forger.post(UPLOAD, {"file": SimpleUploadedFile("a.csv", csv_of("A-1,Lamp,2,4"))})
    assert answer.status_code == 403
    assert nothing_is_left()


@pytest.fixture
def viewer():
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename="view_product"))
    browser = Browser()
    browser.force_login(user)
    return browser


def test_who_may_not_change_products_uploads_nothing_and_may_export(viewer, client, admin_client, lamp):
    job = previewed(admin_client, csv_of("A-1,Lamp,2,4"))
    Job.objects.exclude(pk=job.pk).delete()
    assert send(viewer, csv_of("B-1,Lamp,2,4")).status_code == 403
    assert viewer.post(reverse("admin:product_import", args=[job.pk])).status_code == 403
    assert "Upload and preview" not in viewer.get(PAGE).content.decode()
    assert client.post(UPLOAD, {"file": SimpleUploadedFile("a.csv", b"x")}).status_code == 302, "signed out"
    assert list(Job.objects.all()) == [job]
    assert viewer.post(reverse("admin:product_export")).status_code == 302


def test_the_catalog_is_exported_and_can_be_imported_again(admin_client, add, monkeypatch):
    monkeypatch.setattr(file_jobs, "EXPORT_EVERY", 2)
    monkeypatch.setattr(files, "CHUNK_BYTES", 50)
    for n in range(5):
        add(sku=f"S-{n}", name=f"Lämp {n}", price=2, stock=n)
    answer = admin_client.post(reverse("admin:product_export"), follow=True)
    work()
    job = Job.objects.get()
    assert (job.state, job.done) == ("done", 5)
    assert "Download the file" in page_of(admin_client, job)
    answer = admin_client.get(reverse("admin:jobs_job_result", args=[job.pk]))
    assert answer["Content-Disposition"] == 'attachment; filename="products.csv"'
    content = answer.getvalue()
    assert content.startswith(b"\xef\xbb\xbfid,sku,name") and "Lämp 4".encode() in content
    again = previewed(admin_client, content)
    assert (again.done, again.changed, again.unchanged) == (5, 0, 5)


def test_an_export_that_was_interrupted_begins_again(admin_client, add, monkeypatch):
    monkeypatch.setattr(file_jobs, "EXPORT_EVERY", 1)
    monkeypatch.setattr(files, "CHUNK_BYTES", 20)
    for n in range(4):
        add(sku=f"S-{n}", name=f"Lamp {n}", price=2, stock=n)
    admin_client.post(reverse("admin:product_export"))
    stopping = threading.Event()
    real = file_jobs.catalog

    def interrupted():
        for n, product in enumerate(real()):
            if n == 2:
                stopping.set()
            yield product

    monkeypatch.setattr(file_jobs, "catalog", interrupted)
    run_jobs(stopping)
    job = Job.objects.get()
    assert job.state == "running" and "Download" not in page_of(admin_client, job)
    assert admin_client.get(reverse("admin:jobs_job_result", args=[job.pk])).status_code == 302
    work()
    content = admin_client.get(reverse("admin:jobs_job_result", args=[job.pk])).getvalue().decode()
    assert [content.count(f"S-{n}") for n in range(4)] == [1] * 4 and content.count("sku,name") == 1


def test_json_lines_are_imported_too(admin_client):
    content = "".join(json.dumps({"sku": f"J-{n}", "name": "Lamp", "price": 2, "stock": 1}) + "\n" for n in range(3))
    imported(admin_client, previewed(admin_client, content.encode(), name="shop.jsonl"))
    assert Product.objects.count() == 3
