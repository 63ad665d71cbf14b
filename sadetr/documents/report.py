"""A report: one page that needs no other file, with sections of documents and pictures and a script of its own.

The script (``report.js``) filters and sorts the rows of tables and opens a dialog on the facts about a cell. What it
knows of them are the attributes ``data-...`` and the report's ``facts``: it decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sadetr.documents.model import Attributes, Document
from sadetr.documents.templates import environment


@dataclass(frozen=True)
class Picture:
    """A figure: ``source`` is a ``data:`` address; where it is empty, ``remark`` says why there is no figure."""

    name: str
    caption: str
    source: str
    remark: str
    data: Attributes = ()


@dataclass(frozen=True)
class Section:
    """A part of the page; without a ``title`` its only document bears that of the section.

    The rows of the tables of a section that is ``filtered`` are shown or hidden by the controls.
    """

    name: str
    title: str
    documents: tuple[Document, ...] = ()
    pictures: tuple[Picture, ...] = ()
    filtered: bool = True

    @property
    def heading(self) -> str:
        """What leads to it in the list of contents."""
        return self.title or self.documents[0].title


@dataclass(frozen=True)
class Report:
    """The page: ``tables`` are names and captions that rows can be filtered by, ``verdicts`` their verdicts.

    ``facts`` are plain data for the dialogs: ``cells`` by experiment, row and metric, ``runs`` and ``settings`` by name
    (:mod:`sadetr.reporting.report_facts`).
    """

    title: str
    banner: str
    sections: tuple[Section, ...]
    tables: tuple[tuple[str, str], ...]
    verdicts: tuple[str, ...]
    facts: Mapping[str, Any]


def render_report(report: Report) -> str:
    """The page as HTML. Equal reports give equal bytes."""
    return environment("html").get_template("report.j2").render(report=report)
