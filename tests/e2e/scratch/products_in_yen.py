"""A shop in yen: amounts have no decimals, in bodies, filters and answers."""

import os
import sys

os.environ["CURRENCY"] = "JPY"

from tests.e2e.scratch.service import running, sent  # after the currency is set

URL = "/api/products"
LAMP = {"name": "Lamp", "stock": 3}


def main() -> int:
    with running("product_svc") as api:
        made = sent(api.post(URL, {**LAMP, "price": 1500}, format="json"), 201)
        assert (made["price"], made["currency"]) == (1500, "JPY")
        for price in (1500.0, "1500", "1500.00", "1.5e3"):
            assert sent(api.patch(f"{URL}/{made['id']}", {"price": price}, format="json"), 200)["price"] == 1500
        for price in (0.5, 1500.01, "1500.1", "1e-1"):
            refused = sent(api.post(URL, {**LAMP, "price": price}, format="json"), 400)
            assert [each["code"] for each in refused["errors"]] == ["max_decimal_places"], refused
        assert sent(api.get(f"{URL}?minPrice=0.5"), 400)["errors"][0]["field"] == "minPrice"
        items = [{"productId": made["id"], "quantity": 1}]
        reserve = api.put("/api/stock-reservations/7", {"items": items}, format="json")
        for answer in (
            *(api.get(f"{URL}{more}") for more in ("", "?search=lamp", "?minPrice=1500&ordering=price")),
            *(api.get(f"{URL}/{made['id']}"), reserve, api.get("/api/stock-reservations/7")),
        ):
            assert answer.status_code < 300, answer.content
            text = answer.content.decode()
            assert '"currency":"JPY"' in text and "1500" in text and "1500." not in text, text
        events = api.get("/api/events").content.decode()
        assert '"currency": "JPY"' in events and '"price": 1500,' in events and "1500." not in events, events
        assert sent(reserve, 201)["items"][0]["unitPrice"] == 1500
    print("all of it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
