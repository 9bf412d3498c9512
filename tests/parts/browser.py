"""A real Chromium without a window, what its pages ask for, and what they complain of."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.parts.processes import need

_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")


class Browser:
    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def _log(self, of: str) -> list[dict[str, str]]:
        """What has been logged since the last time."""
        entries: list[dict[str, str]] = self.driver.get_log(of)  # type: ignore[no-untyped-call]
        return entries

    def resize(self, width: int, height: int) -> None:
        """The page itself, without what a window has around it."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def text(self, selector: str) -> str:
        return str(self.driver.execute_script("return document.querySelector(arguments[0]).textContent", selector))

    def count(self, selector: str) -> int:
        return int(self.driver.execute_script("return document.querySelectorAll(arguments[0]).length", selector))

    def width(self) -> int:
        """Pixels that the page's content takes."""
        return int(self.driver.execute_script("return document.documentElement.scrollWidth"))

    def picture(self, file: Path) -> None:
        """What is in view, as PNG."""
        self.driver.save_screenshot(str(file))

    def hosts(self) -> set[str]:
        """Whom pages asked for anything since this was asked the last time."""
        entries = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        urls = [each["params"]["request"]["url"] for each in entries if each["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).netloc for url in urls if not url.startswith("data:")}

    def complaints(self) -> list[str]:
        """What the console says of errors, and of what a policy forbids."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@contextmanager
def browser() -> Iterator[Browser]:
    need("chromium", "chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
