"""Forms as they came in: values by field, what is wrong with which field, and what is kept when one is shown
again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import Depends
from starlette.datastructures import FormData

from export_pipeline.errors import ExportPipelineError
from export_pipeline.portal.guards import read_form

_SECRET = ("password",)
"""Fields that are never sent back."""


@dataclass(frozen=True)
class Form:
    """The values of a form, and the errors by field; the error of the form as a whole is under ``""``."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    errors: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """The value of a field without space around it; empty if it was not sent."""
        return self.raw(name).strip()

    def raw(self, name: str) -> str:
        """The value of a field as it was sent; empty if it was not."""
        return (self.values.get(name) or ("",))[0]

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a field that can have several, such as boxes to tick."""
        return tuple(self.values.get(name, ()))

    def lines(self, name: str) -> tuple[str, ...]:
        """What is in a field of which each line is a value, without empty ones."""
        return tuple(line.strip() for line in self.text(name).splitlines() if line.strip())

    def shown(self, name: str) -> str:
        """What the field is filled with when the form is shown again."""
        return "" if name in _SECRET else self.text(name)

    def error(self, name: str) -> str:
        """What is wrong with a field; empty if nothing."""
        return self.errors.get(name, "")

    def told(self, error: ExportPipelineError, fields: Mapping[str, str] | None = None) -> "Form":
        """The form with an error at the field it names; at its top if it names none that is there.

        Args:
            fields: the form's field by the error's, where they are not called the same.
        """
        named = error.field or ""
        named = (fields or {}).get(named, named)
        return replace(self, errors={**self.errors, named: error.message})


def form_of(form: Annotated[FormData, Depends(read_form)]) -> Form:
    """The form of a request; files in it are dropped."""
    values: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            values.setdefault(name, []).append(value)
    return Form(values)
