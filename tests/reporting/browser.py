"""Headless Chromium, as a person at two widths and with either taste in colours would use it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"phone": (390, 844), "desktop": (1440, 900)}
SCHEMES = ("light", "dark")


def found_browser() -> str | None:
    """Path of a browser, if one is there with its driver."""
    paths = map(shutil.which, BROWSERS)
    return next((path for path in paths if path), None) if shutil.which("chromedriver") else None


class Browser:
    """One window; ``press`` types on whatever has the focus."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = found_browser()
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(120)

    def open(
        self, page: Path | str, place: str = "", scheme: str = "light", width: str = "desktop", **media: str
    ) -> None:
        """Load ``page`` from disk or an address, at ``#place``.

        ``media`` are more features, ``prefers-reduced-motion`` say.
        """
        wide, high = WIDTHS[width]
        size = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.set_media("", **{"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce", **media})
        self.driver.get("about:blank")
        self.driver.get((page if isinstance(page, str) else page.as_uri()) + place)

    def set_media(self, kind: str, **features: str) -> None:
        """Show the page as on ``kind`` of media, "" = a screen."""
        listed = [{"name": name, "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": listed})

    def run(self, script: str, *values: Any) -> Any:
        """What a script returns; ``arguments`` are its values."""
        return self.driver.execute_script(script, *values)

    def run_later(self, script: str) -> Any:
        """What a script hands to the last of its ``arguments``."""
        return self.driver.execute_async_script(script)

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """Texts of the elements that are shown."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())"
            ".map((each) => each.innerText.trim())",
            selector,
        )

    def shown(self, selector: str) -> bool:
        """Whether any element is shown."""
        return bool(self.texts(selector))

    def press(self, *keys: str) -> None:
        """Type on what has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def choose(self, name: str, value: str) -> None:
        """Set a control and let the page know, as a person's choice does."""
        self.run(
            "const [name, value] = arguments, control = document.getElementById(name); control.value = value;"
            "for (const kind of ['input', 'change']) control.dispatchEvent(new Event(kind, {bubbles: true}));",
            *(name, value),
        )

    def errors(self) -> list[str]:
        """What the console complained about since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition, ten seconds at most."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, 10).until(lambda _: condition())
