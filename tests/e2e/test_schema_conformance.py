"""The five services, as real processes, conform to their committed OpenAPI documents for all requests."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.checks import ignored_auth

from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, USER, Service
from tests.documents import committed
from tests.e2e.stack import Shop, Stack, temporary_stack

CALLERS_FIRST = [ORDER, NOTIFICATION, ANALYTICS, PRODUCT, USER]
"""The order of the services, so that users and products exist while orders are tested. Then they are deleted, too."""
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES, SEARCHED_EXAMPLES = 1, 100
"""Generated requests per operation, in addition to those for the bounds of every parameter."""
SECONDS, SEARCHING_SECONDS = 180, 3600


@pytest.fixture(scope="module")
def stack(template: Path) -> Iterator[Stack]:
    """A separate platform, because these requests delete data and use up sign-in attempts."""
    with temporary_stack(template) as own:
        yield own.up()


@pytest.fixture(scope="module")
def things(stack: Stack) -> None:
    """Creates the resources that the documents' examples name "1" and "2"."""
    shop = Shop(stack)
    for number in (1, 2):
        shop.made(USER, "/api/users", name="Ann", email=f"ann{number}@example.com", password="lamps and chairs")
        shop.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=1000)
        shop.made(ORDER, "/api/orders", userId=str(number), productId=str(number), quantity=1)


@pytest.mark.nightly
@pytest.mark.parametrize("service", CALLERS_FIRST, ids=lambda service: service.package)
@pytest.mark.usefixtures("things")
@pytest.mark.searching
def test_every_response_conforms_to_the_openapi_document(
    stack: Stack, service: Service, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """No 500, no other status, header, media type or body; no request is taken that the document forbids."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
    command += [str(committed(service)), "--url", stack.url(service), "--continue-on-failure"]
    command += ["--workers", "1", "--no-color"]
    if pytestconfig.getoption("--search"):  # it prints the seed
        command, seconds = [*command, "--max-examples", str(SEARCHED_EXAMPLES)], SEARCHING_SECONDS
    else:
        command, seconds = [*command, "--max-examples", str(EXAMPLES), "--generation-deterministic"], SECONDS
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=seconds, check=False)
    said = "\n".join(line[:500] for line in (done.stdout + done.stderr).splitlines() if line.strip())
    assert done.returncode == 0, said
    assert " passed" in said


class Documented:
    """A client that uses the OpenAPI documents and checks every response against them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.schemas = {service: schemathesis.openapi.from_path(str(committed(service))) for service in CALLERS_FIRST}

    def ask(self, service: Service, operation: str, body: Any = None, **parameters: Any) -> Any:
        """The answer to an operation, by its id."""
        described = self._operation(service, operation)
        given = {} if body is None else {"body": body, "media_type": "application/json"}
        case = described.Case(path_parameters=parameters, **given)
        answer = case.call(base_url=self.stack.url(service))
        case.validate_response(answer, excluded_checks=[ignored_auth])
        return answer

    def linked(self, service: Service, operation: str, answer: Any) -> dict[str, dict[str, Any]]:
        """The links of the response in its document: operations with their parameters."""
        responses = self._operation(service, operation).definition.raw["responses"]
        links = responses[str(answer.status_code)]["links"].values()
        members = answer.json()
        return {
            link["operationId"]: {n: members[v.split("#/")[1]] for n, v in link["parameters"].items()} for link in links
        }

    def _operation(self, service: Service, name: str) -> Any:
        found = (result.ok() for result in self.schemas[service].get_all_operations())
        return next(each for each in found if each.definition.raw["operationId"] == name)


def test_openapi_links_lead_from_a_user_and_a_product_to_an_order_and_its_moves(stack: Stack) -> None:
    documented = Documented(stack)
    user = documented.ask(USER, "createUser", {"name": "Ann", "email": "ann.linked@example.com"})
    product = documented.ask(PRODUCT, "createProduct", {"name": "Lamp", "price": 19.99, "stock": 3})
    body = {"userId": user.json()["id"], "productId": product.json()["id"], "quantity": 3}
    order = documented.ask(ORDER, "createOrder", body)
    assert [answer.status_code for answer in (user, product, order)] == [201, 201, 201]

    steps = documented.linked(ORDER, "createOrder", order)
    for step, status in (("getOrder", "confirmed"), ("shipOrder", "shipped"), ("deliverOrder", "delivered")):
        answer = documented.ask(ORDER, step, **steps[step])
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    assert documented.ask(ORDER, "cancelOrder", **steps["cancelOrder"]).status_code == 409
    assert documented.ask(ORDER, "explainOrder", **steps["explainOrder"]).status_code == 200

    sold_out = documented.linked(PRODUCT, "createProduct", product)
    assert documented.ask(PRODUCT, "getProduct", **sold_out["getProduct"]).json()["stock"] == 0
    reservation = documented.ask(PRODUCT, "getReservation", orderId=order.json()["id"])
    assert reservation.json()["items"][0]["quantity"] == 3
    gone = documented.linked(USER, "createUser", user)
    assert documented.ask(USER, "deleteUser", **gone["deleteUser"]).status_code == 204
    assert documented.ask(USER, "getUser", **gone["getUser"]).status_code == 404
    assert documented.ask(ORDER, "createOrder", body).status_code == 422
