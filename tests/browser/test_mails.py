"""The mails of development."""

from platform_core.topology import NOTIFICATION, ORDER, USER
from tests.e2e.stack import eventually

FITS = "document.documentElement.scrollWidth <= window.innerWidth"


def test_mails_are_listed_searched_and_read(stack, page, shop, shoot):
    order = shop.made(ORDER, "/api/orders", userId="5", productId="11", quantity=2)
    subject = f"Order {order['id']} is confirmed"
    page.goto(stack.direct(NOTIFICATION, "/mails"))
    eventually("the mail arrives on the open page", lambda: subject in page.inner_text("#mails"))
    shoot(page, "mails")
    page.fill("#to", "ann5@")
    page.click("form button")
    eventually("only mails to Ann are listed", lambda: "ann4@" not in page.inner_text("#mails"))
    page.click(f"text={subject}")
    assert "2 × Lamp 11: 39.98 USD" in page.inner_text("pre")
    frame = page.frame_locator("iframe")
    assert "Thank you for your order." in frame.locator("body").inner_text()
    shoot(page, "mail")
    page.set_viewport_size({"width": 375, "height": 812})
    page.emulate_media(color_scheme="dark")
    eventually("nothing runs out of the page", lambda: page.evaluate(FITS))
    shoot(page, "mail phone dark")
    page.goto(stack.direct(NOTIFICATION, "/mails"))
    eventually("nothing runs out of the page", lambda: page.evaluate(FITS))
    shoot(page, "mails phone dark")


def test_the_link_of_a_mail_with_a_token_opens(stack, page, shop, shoot):
    shop.ask("POST", USER, "/api/auth/password-reset", json={"email": "ann6@example.com"})
    page.goto(stack.direct(NOTIFICATION, "/mails?to=ann6"))
    mail = page.locator("#mails a", has_text="new password")
    eventually("the mail arrives", lambda: mail.count() > 0)
    mail.first.click()
    link = page.locator("pre a").first.get_attribute("href")
    assert link and "token=" in link
    shoot(page, "mail with a token")
