"""People at the portal in a real browser: with a mouse, with the keyboard alone, and without scripts."""

from pathlib import Path
from typing import Any, ClassVar

from playwright.sync_api import Error, Locator, Page, expect

from export_pipeline_tests.system import missing

AXE = Path(__file__).parents[1] / "examples" / "node" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
_MOST_TABS = 150
_HAS_FOCUS = "all => all.length === 1 && all[0] === document.activeElement"
_FOCUS_IS_SEEN = """() => {
  const held = document.activeElement, shown = held.closest(".choice") || held;
  const style = getComputedStyle(shown), box = shown.getBoundingClientRect();
  return held.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0
    && box.bottom > 0 && box.top < innerHeight;
}"""


def check(page: Page) -> None:
    """No serious violation, and nothing wider than the window."""
    if not AXE.exists():
        missing("axe-core of npm is not installed; `make test-system` installs it")
    page.evaluate(AXE.read_text() + "; 0")
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    told = [(v["id"], [node["target"] for node in v["nodes"]]) for v in found if v["impact"] in SERIOUS]
    assert not told, page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], page.url  # type: ignore[index]


class Mouse:
    """Somebody with a mouse and a small dark window, on which axe-core looks at what they ``look`` at."""

    window: ClassVar[dict[str, Any]] = {"viewport": {"width": 400, "height": 900}, "color_scheme": "dark"}

    def __init__(self, page: Page) -> None:
        self.page = page

    def go(self, title: str) -> None:
        """Follow the menu to a page."""
        menu = self.page.locator(".menu > summary")
        if menu.is_visible():
            self.press(menu)
        links = self.page.get_by_role("navigation", name="Pages")
        self.press(links.get_by_role("link", name=title, exact=True))
        expect(self.page.locator(".side a[aria-current]")).to_have_text(title)

    def press_named(self, name: str) -> None:
        """Press the button, link or summary of this name."""
        named = [self.page.get_by_role(role, name=name, exact=True) for role in ("button", "link")]  # type: ignore[arg-type]
        summary = self.page.locator("summary").filter(has_text=name)
        self.press(self.page.locator("main").locator(named[0].or_(named[1]).or_(summary)))

    def press(self, target: Locator) -> None:
        target.click()

    def write(self, label: str, text: str) -> None:
        """Fill in a field; a day is written as ``YYYY-MM-DD``."""
        self.page.get_by_label(label, exact=True).fill(text)

    def tick(self, name: str, value: str) -> None:
        """Choose a box or a radio button."""
        self._choice(name, value).check()

    def pick(self, label: str, value: str) -> None:
        """Choose from a list."""
        self.page.get_by_label(label, exact=True).select_option(value)

    def download(self, name: str) -> bytes:
        """What a link of this name gives."""
        with self.page.expect_download() as given:
            self.press_named(name)
        return given.value.path().read_bytes()

    def wait(self) -> None:
        """See what has happened since the page was loaded; it shows by itself."""

    def look(self) -> None:
        check(self.page)

    def _choice(self, name: str, value: str) -> Locator:
        return self.page.locator(f"input[name={name}][value='{value}']")


class Unscripted(Mouse):
    """Somebody whose browser runs no scripts."""

    window: ClassVar[dict[str, Any]] = {"java_script_enabled": False}

    def wait(self) -> None:
        self.page.reload()

    def look(self) -> None:
        """Without scripts there is no axe-core."""


class Keyboard(Mouse):
    """Somebody who uses nothing but Tab, Enter, Space, arrows and letters, and sees where they are."""

    window: ClassVar[dict[str, Any]] = {"viewport": {"width": 1400, "height": 900}}

    def press(self, target: Locator) -> None:
        self.reach(target)
        self.page.keyboard.press("Enter")

    def write(self, label: str, text: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        self.reach(field)
        if field.get_attribute("type") == "date":
            year, month, day = text.split("-")
            text = month + day + year
        self.page.keyboard.type(text)

    def tick(self, name: str, value: str) -> None:
        wanted = self._choice(name, value)
        if wanted.get_attribute("type") == "checkbox":
            self.reach(wanted)
            if not wanted.is_checked():
                self.page.keyboard.press("Space")
        else:
            self.reach(self.page.locator(f"input[name={name}]:checked"))
            for _ in range(10):
                if self._is_at(wanted):
                    break
                self.page.keyboard.press("ArrowDown")
        expect(wanted).to_be_checked()

    def pick(self, label: str, value: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        self.reach(field)
        for _ in range(10):
            if field.input_value() == value:
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"{value} cannot be chosen")

    def reach(self, target: Locator) -> None:
        """Go on with Tab until the target has the focus, and that is seen."""
        for _ in range(_MOST_TABS):
            self.page.keyboard.press("Tab")
            if self._is_at(target):
                assert self.page.evaluate(_FOCUS_IS_SEEN), f"the focus on {target} is not seen"
                return
        raise AssertionError(f"{target} cannot be reached")

    def _is_at(self, target: Locator) -> bool:
        try:
            return bool(target.evaluate_all(_HAS_FOCUS))
        except Error as error:
            if "navigation" not in error.message:
                raise
            return False  # the page before was just left

    def look(self) -> None:
        """axe-core has looked at it with the mouse."""


PEOPLE = {"mouse": Mouse, "keyboard": Keyboard, "unscripted": Unscripted}
