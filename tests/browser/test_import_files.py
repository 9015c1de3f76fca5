"""The import of a file of products, as a member of staff does it: upload, preview, import, download of the rejects."""

import pytest

from platform_core.topology import PRODUCT
from tests.browser.conftest import sign_in

ROWS = [f"W-{n},Window lamp {n},12.50,{n}" for n in range(1, 40)]
CONTENT = "sku,name,price,stock\n" + "\n".join([*ROWS, "W-40,,1,1", "W-41,Broken,dear,1"]) + "\n"


@pytest.mark.usefixtures("shop")
def test_a_file_is_previewed_imported_and_its_rejects_downloaded(stack, page, password, shoot):
    sign_in(page, stack, PRODUCT, password)
    page.goto(stack.direct(PRODUCT, "/admin/product_svc/product/"))
    page.get_by_role("link", name="Import and export files").click()
    page.wait_for_url("**/files/")
    shoot(page, "import form")
    page.set_viewport_size({"width": 375, "height": 800})
    shoot(page, "import form narrow")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.set_input_files("#id_file", {"name": "windows.csv", "mimeType": "text/csv", "buffer": CONTENT.encode()})
    page.get_by_role("button", name="Upload and preview").click()
    page.get_by_role("button", name="Import").wait_for(timeout=120_000)
    assert page.get_by_text("39 new, 0 changed, 0 unchanged, 2 rejected.").count() == 1
    assert page.get_by_text("line 42: price:").count() == 1
    shoot(page, "import preview")
    preview = page.url
    page.get_by_role("button", name="Import").click()
    page.wait_for_url(lambda url: url != preview)
    page.get_by_role("link", name="Download the rejected lines").wait_for(timeout=120_000)
    shoot(page, "import done")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the rejected lines").click()
    assert download.value.suggested_filename == "windows.csv.rejects"
    assert "W-41,Broken,dear,1" in download.value.path().read_text()
    page.goto(stack.direct(PRODUCT, "/admin/product_svc/product/files/"))
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the file").click(timeout=120_000)
    assert "Window lamp 39" in download.value.path().read_text()
    page.emulate_media(color_scheme="dark")
    page.goto(stack.direct(PRODUCT, "/admin/product_svc/product/files/"))
    shoot(page, "import form dark")
