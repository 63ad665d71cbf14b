"""The page in headless Chromium: upload, ask, jump, a bad file, one that is too large, and removal."""

import importlib.resources
import json
import re
import threading
import time
from pathlib import Path

import pytest

from sadetr.serving.limits import Limits
from tests.extraction.videos import write_video
from tests.reporting.browser import SCHEMES, WIDTHS, Browser, found_browser
from tests.serving.conftest import EVENTS, Server, until

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(found_browser() is None, reason="neither Chromium nor its chromedriver is installed")

UPLOAD = 1_500_000
FIRST, SECOND = "the red thing", "a cat and the blue thing"


class Gated:
    """A predictor whose features come once ``gate`` is set."""

    def __init__(self, predictor):
        self._predictor = predictor
        self.gate = threading.Event()
        self.gate.set()
        self.read = 0

    def __getattr__(self, name):
        return getattr(self._predictor, name)

    def features(self, path, decoder):
        self.read += 1
        features = self._predictor.features(path, decoder)
        self.gate.wait(30)
        return features


@pytest.fixture(scope="module")
def served(clip_studio, tmp_path_factory):
    limits = Limits(upload=UPLOAD, duration=60)
    with Server(Gated(clip_studio.load()), tmp_path_factory.mktemp("uploads"), limits) as server:
        yield server.served


@pytest.fixture(scope="module")
def window():
    browser = Browser()
    yield browser
    browser.driver.quit()


@pytest.fixture
def address(served):
    yield f"http://{served.host}/"
    served.predictor.gate.set()


@pytest.fixture
def browser(window, address):
    """The page, freshly opened at 1440 pixels in light colours."""
    window.open(address)
    window.errors()
    yield window
    window.run("document.getElementById('remove').click()") if window.shown("#work") else None


def choose(browser: Browser, file: Path) -> None:
    browser.until(lambda: browser.shown("#choose, #work"))
    browser.find("#file").send_keys(str(file))


def send(browser: Browser, file: Path) -> None:
    choose(browser, file)
    browser.until(lambda: browser.shown("#timeline"))


def ask(browser: Browser, sentence: str) -> None:
    from selenium.webdriver.common.keys import Keys

    field = browser.find("#sentence")
    field.clear()
    field.send_keys(sentence, Keys.ENTER)


def answered(browser: Browser, sentence: str) -> None:
    ask(browser, sentence)
    browser.until(lambda: browser.texts("#asked") == [f"“{sentence}”"])


def expected(served, videos: Path, sentence: str):
    (located,) = served.predictor.locate(videos / "shapes.webm", sentence)
    return located


def playing(browser: Browser) -> float:
    return browser.run("return document.getElementById('player').currentTime")


def places(browser: Browser, selector: str) -> list[list[float]]:
    """Left and right of elements, as parts of the timeline's width."""
    return browser.run(
        "const box = document.getElementById('timeline').getBoundingClientRect();"
        "return [...document.querySelectorAll(arguments[0])].map((each) => each.getBoundingClientRect())"
        ".map((each) => [(each.left - box.left) / box.width, (each.right - box.left) / box.width])",
        selector,
    )


def test_a_video_is_sent_asked_about_and_removed(browser, served, videos):
    send(browser, videos / "shapes.webm")
    assert browser.texts("#name") == ["shapes.webm"]
    assert not browser.shown("#progress, #choose, #answer")
    read = served.predictor.read
    for sentence in (FIRST, SECOND):
        answered(browser, sentence)
        located = expected(served, videos, sentence)
        assert [text.split("\n")[0] for text in browser.texts("#moments li")] == ["1", "2", "3", "4", "5"]
        assert browser.texts("#more") == [f"Show all {len(located.windows)}"]
        scores = [re.search(r"score (\S+)", text)[1] for text in browser.texts("#moments .numbers")]
        assert scores == [f"{window.score:.2f}" for window in located.windows[:5]]
        shown = [[window.start / 24, window.end / 24] for window in located.windows[:5]]
        assert places(browser, ".moment-bar") == [pytest.approx(place, abs=0.004) for place in shown]
    # Decoded once, and kept on the page.
    assert served.predictor.read == read
    assert [text.split("\n")[0] for text in browser.texts("#history li")] == [FIRST, SECOND]
    browser.find("#history li:first-child button").click()
    assert browser.texts("#asked") == [f"“{FIRST}”"]
    browser.find("#more").click()
    assert len(browser.texts("#moments li")) == len(located.windows)
    assert len(places(browser, ".moment-bar")) == len(located.windows)
    assert len(list(served.folder.iterdir())) == 1
    browser.find("#remove").click()
    browser.until(lambda: browser.shown("#choose"))
    until(lambda: not list(served.folder.iterdir()))
    assert browser.run("return document.activeElement.id") == "file"
    assert browser.errors() == []


def test_bars_do_not_cover_each_other(browser, videos):
    send(browser, videos / "shapes.webm")
    answered(browser, FIRST)
    browser.find("#more").click()
    boxes = browser.run(
        "return [...document.querySelectorAll('.moment-bar')].map((each) => each.getBoundingClientRect())"
        ".map((each) => [each.left, each.right, each.top, each.bottom])"
    )
    assert len(boxes) > 5
    for place, (left, right, top, bottom) in enumerate(boxes):
        assert right - left >= 24
        for others in boxes[:place]:
            assert right <= others[0] or others[1] <= left or bottom <= others[2] or others[3] <= top


@pytest.mark.parametrize("kind", [".moment", ".moment-bar"])
@pytest.mark.parametrize("key", ["click", "Enter"])
def test_a_moment_is_jumped_to_and_played_to_its_end(browser, served, videos, kind, key):
    from selenium.webdriver.common.keys import Keys

    send(browser, videos / "shapes.webm")
    answered(browser, SECOND)
    windows = expected(served, videos, SECOND).windows
    place = next(place for place, window in enumerate(windows[:5]) if window.start > 0)
    chosen = windows[place]
    button = browser.driver.find_elements("css selector", kind)[place]
    assert f"Moment {place + 1}: 0:0{chosen.start:.0f} to " in button.get_attribute("aria-label")
    if key == "click":
        button.click()
    else:
        browser.run("arguments[0].focus()", button)
        browser.press(Keys.ENTER)
    browser.until(lambda: not browser.run("return document.getElementById('player').paused"))
    assert chosen.start <= playing(browser) < chosen.start + 3
    marked = "return document.querySelectorAll('.moment[aria-current], .moment-bar[aria-current]').length"
    assert browser.run(marked) == 2
    assert browser.run("return document.querySelector(`${arguments[0]}[aria-current]`) === arguments[1]", kind, button)
    # It stops where the moment does, and not before.
    browser.run("document.getElementById('player').currentTime = arguments[0]", min(chosen.end, 24) - 0.4)
    browser.until(lambda: browser.run("return document.getElementById('player').paused"))
    assert playing(browser) == pytest.approx(chosen.end, abs=0.5)


def test_the_curve_and_the_playhead_are_aligned_with_the_time(browser, served, videos):
    send(browser, videos / "shapes.webm")
    answered(browser, FIRST)
    points = browser.run("return document.querySelector('.curve polyline').getAttribute('points')")
    found = [tuple(map(float, point.split(","))) for point in points.split()]
    saliency = expected(served, videos, FIRST).saliency
    assert [x for x, _ in found[::2]] == pytest.approx([1000 * 2 * clip / 24 for clip in range(12)])
    order = sorted(range(12), key=lambda clip: saliency[clip])
    heights = [y for _, y in found[::2]]
    assert sorted(range(12), key=lambda clip: -heights[clip]) == order
    label = browser.run("return document.querySelector('.curve svg').getAttribute('aria-label')")
    assert label.startswith("Saliency of 12 clips; highest from ")
    (curve,) = places(browser, ".curve svg")
    assert curve == pytest.approx([0, 1], abs=0.01)
    browser.run("document.getElementById('player').currentTime = 18")
    browser.until(lambda: places(browser, ".playhead")[0][0] == pytest.approx(0.75, abs=0.01))
    # A click between the moments goes to that time.
    browser.run(
        "const box = arguments[0].getBoundingClientRect();"
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true, clientX: box.left + box.width / 4}))",
        browser.find(".axis"),
    )
    assert playing(browser) == pytest.approx(6, abs=0.1)


def test_the_player_shows_the_moment_that_is_meant(browser, videos):
    send(browser, videos / "shapes.webm")
    browser.until(lambda: browser.run("return document.getElementById('player').readyState >= 2"))
    script = """
        const [seconds, done] = arguments, player = document.getElementById('player');
        player.addEventListener('seeked', () => {
            const canvas = document.createElement('canvas').getContext('2d');
            canvas.drawImage(player, 0, 0, 96, 96);
            done([...canvas.getImageData(48, 48, 1, 1).data]);
        }, {once: true});
        player.currentTime = seconds;
    """
    for event, channel in zip(EVENTS, (0, 2), strict=True):
        pixel = browser.driver.execute_async_script(script, event.start + 1)
        assert pixel[channel] == max(pixel[:3]) > 150


def test_a_sentence_may_be_asked_before_the_video_is_read(browser, served, videos):
    served.predictor.gate.clear()
    choose(browser, videos / "shapes.webm")
    browser.until(lambda: "Reading the video with CLIP" in "".join(browser.texts("#phase")))
    ask(browser, FIRST)
    assert browser.texts("#note") == [f"“{FIRST}” is answered as soon as the video is read."]
    assert not browser.shown("#timeline, #answer")
    served.predictor.gate.set()
    browser.until(lambda: browser.texts("#asked") == [f"“{FIRST}”"])
    assert not browser.shown("#progress")


def test_a_blank_sentence_is_not_asked(browser, videos):
    send(browser, videos / "shapes.webm")
    ask(browser, "   ")
    assert browser.texts("#note") == ["Say in a sentence what is to be found."]


def test_a_file_that_is_no_video(browser, served, tmp_path):
    (tmp_path / "diary.mp4").write_text("Dear diary, " * 100)
    choose(browser, tmp_path / "diary.mp4")
    browser.until(lambda: browser.shown("#error"))
    (text,) = browser.texts("[role=alert]")
    assert text.startswith("diary.mp4: is a text that begins with 'Dear diary,")
    assert "choose a file in one of the formats MP4" in text
    assert browser.shown("#choose")
    assert not browser.shown("#work")
    assert list(served.folder.iterdir()) == []


def test_a_video_that_is_cut_off(browser, served, tmp_path, videos):
    content = (videos / "shapes.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 3])
    choose(browser, tmp_path / "cut.avi")
    browser.until(lambda: browser.shown("#error"))
    (text,) = browser.texts("#error")
    assert re.match(r"cut\.avi: .*; .*copy it again", text)
    until(lambda: not list(served.folder.iterdir()))
    # The next one is taken, and the complaint goes.
    send(browser, videos / "shapes.webm")
    assert not browser.shown("#error")


def test_a_file_that_is_too_large(browser, served, tmp_path):
    (tmp_path / "large.mp4").write_bytes(b"\0\0\0 ftypisom" + b"\0" * UPLOAD)
    choose(browser, tmp_path / "large.mp4")
    browser.until(lambda: browser.shown("#error"))
    message = "large.mp4: is larger than 2 MB; cut it, or encode it smaller"
    assert browser.texts("#error") == [message]
    # The same where the page lets it through: the server counts.
    browser.run("document.body.dataset.bytes = '1e12'; document.getElementById('error').textContent = ''")
    choose(browser, tmp_path / "large.mp4")
    browser.until(lambda: browser.texts("#error") == [message])
    sent = "return performance.getEntriesByType('resource').filter((each) => each.name.includes('?name=large')).length"
    assert browser.run(sent) == 1
    assert list(served.folder.iterdir()) == []


def test_a_video_that_is_too_long(browser, tmp_path):
    choose(browser, write_video(tmp_path / "long.mp4", 61 * 30))
    browser.until(lambda: browser.shown("#error"))
    assert browser.texts("#error") == ["long.mp4: is longer than 60 seconds, the most that is taken here; cut it"]


def test_a_video_that_the_browser_cannot_play_is_answered(browser, videos):
    send(browser, videos / "shapes.avi")
    browser.until(lambda: browser.shown("#unplayable"))
    assert not browser.shown("#player")
    answered(browser, FIRST)
    assert len(places(browser, ".moment-bar")) == 5
    browser.find(".moment").click()
    left = places(browser, ".moment-bar")[0][0]
    assert places(browser, ".playhead")[0][0] == pytest.approx(left, abs=0.01)


def test_files_are_dropped(browser, served):
    script = """
        const data = new DataTransfer();
        for (const name of arguments[0]) data.items.add(new File(['Dear diary'], name));
        for (const kind of ['dragover', 'drop']) {
            document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
        }
    """
    browser.until(lambda: browser.shown("#choose"))
    browser.run(script, ["a.mp4", "b.mp4"])
    assert browser.texts("#error") == ["One video at a time: drop a single file."]
    browser.run(script, ["a.mp4"])
    browser.until(lambda: "".join(browser.texts("#error")).startswith("a.mp4: is a text"))
    assert not browser.run("return document.body.matches('.dropping')")


def test_another_file_takes_the_place_of_the_first(browser, served, videos):
    send(browser, videos / "shapes.webm")
    (first,) = served.folder.iterdir()
    browser.run("document.getElementById('choose').hidden = false")
    choose(browser, videos / "shapes.avi")
    browser.until(lambda: browser.texts("#name") == ["shapes.avi"] and browser.shown("#timeline"))
    until(lambda: first not in list(served.folder.iterdir()))
    assert len(list(served.folder.iterdir())) == 1


def test_a_page_that_is_loaded_again_finds_its_video(browser, served, videos):
    send(browser, videos / "shapes.webm")
    browser.driver.refresh()
    browser.until(lambda: browser.shown("#timeline"))
    assert browser.texts("#name") == ["shapes.webm"]
    (file,) = served.folder.iterdir()
    browser.find("#remove").click()
    until(lambda: not file.exists())
    assert browser.run("return location.hash") == ""


def test_a_page_that_is_left_takes_its_video_along(browser, served, videos, monkeypatch):
    from sadetr.serving import uploads

    monkeypatch.setattr(uploads, "AWAY", 0.5)
    send(browser, videos / "shapes.webm")
    (file,) = served.folder.iterdir()
    browser.driver.get("about:blank")
    until(lambda: not file.exists(), 10)


def test_an_address_of_a_video_that_is_gone(window, address):
    window.open(address, "#video=nothing")
    window.until(lambda: window.shown("#error"))
    assert window.texts("#error") == ["this video is not here any more; choose it again"]
    assert window.shown("#choose")


def test_nothing_is_asked_of_other_addresses(browser, served, videos):
    send(browser, videos / "shapes.webm")
    answered(browser, FIRST)
    used = browser.run("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert used
    assert all(each.startswith((f"http://{served.host}/", "data:")) for each in used)
    blocked = "return fetch('http://127.0.0.1:9/').then(() => 'loaded', () => 'refused')"
    assert browser.run(blocked) == "refused"
    assert any("Content Security Policy" in message for message in browser.errors())


def test_the_keyboard_reaches_everything(browser, videos):
    from selenium.webdriver.common.keys import Keys

    send(browser, videos / "shapes.webm")
    answered(browser, FIRST)
    browser.run("document.getElementById('scheme').focus()")
    reached = []
    for _ in range(40):
        browser.press(Keys.TAB)
        active = "const each = document.activeElement; return each.id || each.className || each.tagName"
        reached.append(browser.run(active))
        # Inside the player the browser draws what it likes.
        if reached[-1] != "player":
            assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid", reached
        if reached[-1] == "more":
            break
    order = list(dict.fromkeys(reached))
    assert [each for each in order if each != "primary"] == [
        *("remove", "sentence", "moment-bar", "player", "moment", "more"),
    ]
    assert reached.count("moment-bar") == reached.count("moment") == 5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_axe_finds_no_serious_fault(window, address, videos, scheme, width):
    pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    window.open(address, scheme=scheme, width=width)
    window.until(lambda: window.shown("#choose"))
    check(window, script, width)
    send(window, videos / "shapes.webm")
    for sentence in (FIRST, SECOND):
        answered(window, sentence)
    window.find(".moment").click()
    check(window, script, width)
    window.find("#remove").click()
    assert window.errors() == []


def check(window: Browser, script: str, width: str) -> None:
    wide, inner = window.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= inner == WIDTHS[width][0]
    window.run(script)
    found = window.run_later("axe.run(document, {resultTypes: ['violations']}).then(arguments[arguments.length - 1])")
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=1)[:4000]


def test_the_choice_of_colours_is_kept(browser, address):
    browser.choose("scheme", "dark")
    browser.open(address)
    browser.until(lambda: browser.shown("#choose"))
    assert browser.run("return getComputedStyle(document.documentElement).colorScheme") == "dark"
    browser.choose("scheme", "")


def test_a_server_that_is_gone_is_told(window, clip_studio, tmp_path, videos):
    with Server(Gated(clip_studio.load()), tmp_path, Limits()) as server:
        window.open(f"http://{server.served.host}/")
        send(window, videos / "shapes.webm")
    ask(window, FIRST)
    window.until(lambda: window.texts("#error") == ["the server does not answer: is it still running?"])
    assert list(tmp_path.iterdir()) == []
    time.sleep(0.1)
    window.errors()
