"""`manage.py generate`: generated parts match the code, and other parts of the files are not changed."""

import dataclasses

import pytest

from platform_core.conf.environment import ROOT
from platform_core.tools import generate, sizing
from platform_core.topology import SERVICES

FILES = generate.generated_files(documents=False)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_generated_file_says_what_the_code_says(path):
    """The OpenAPI documents are compared by `test_openapi.py`."""
    assert (ROOT / path).read_text() == FILES[path], f"{path} is out of date: run `make generate`, read the difference"


def test_there_is_no_document_of_a_service_that_does_not_exist():
    found = {path.relative_to(ROOT) for path in (ROOT / generate.DOCUMENTS).iterdir()}
    assert found == {generate.document_path(service) for service in SERVICES}


@pytest.mark.parametrize("path", generate.PARTS)
def test_only_the_marked_parts_are_written(path):
    text = (ROOT / path).read_text()
    spoilt = text.replace("order", "ardor")
    assert spoilt != text
    repaired = generate.with_parts(path, spoilt)
    assert repaired.count("ardor") < spoilt.count("ardor"), "the parts are written"
    assert repaired.replace("ardor", "order") == text, "what stands around them is as it was"


def test_a_mark_that_is_missing_is_named():
    text = (ROOT / "compose.yaml").read_text().replace("  # end generated: services\n", "")
    with pytest.raises(generate.GenerateError, match=r"compose.yaml: .*'services'"):
        generate.with_parts("compose.yaml", text)
    with pytest.raises(generate.GenerateError, match=r"pyproject.toml: .*'containers'"):
        generate.with_parts("pyproject.toml", (ROOT / "pyproject.toml").read_text().replace("# generated: cont", "# "))


def test_a_mark_that_nothing_is_written_for_is_named():
    text = (ROOT / "README.md").read_text()
    with pytest.raises(generate.GenerateError, match="'nonsense' is not known"):
        generate.with_parts("README.md", text + "\nx # generated: nonsense\n")


def test_a_renamed_service_is_renamed_in_every_file(monkeypatch):
    """Finds files that list the services but are not generated."""
    renamed = tuple(dataclasses.replace(s, package="parcel_svc") if s.stem == "order" else s for s in SERVICES)
    monkeypatch.setattr(generate, "SERVICES", renamed)
    for path in ("compose.yaml", "compose.prod.yaml", "deploy/monitoring/prometheus.yml", "README.md"):
        written = generate.with_parts(path, (ROOT / path).read_text())
        assert "parcel-service" in written and "\n  order-service:" not in written, path


def test_a_measured_figure_that_the_docs_no_longer_have_is_named(monkeypatch, tmp_path):
    """Those of docs/scaling.md are computed from the figures in docs/performance.md."""
    (tmp_path / "docs" / "performance").mkdir(parents=True)
    for name in ("performance.md", "performance/results.md"):
        text = (ROOT / "docs" / name).read_text()
        (tmp_path / "docs" / name).write_text(text.replace("| order-service | 2.8 ms", "| order-service | much"))
    monkeypatch.setattr(sizing, "ROOT", tmp_path)
    with pytest.raises(generate.GenerateError, match=r"docs/scaling.md: .*order-service"):
        generate.with_parts("docs/scaling.md", (ROOT / "docs" / "scaling.md").read_text())
