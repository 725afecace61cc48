"""Parameters of a query: only known ones, each once."""

from fastapi import Request

from export_pipeline.errors import InvalidRequest
from export_pipeline.given import check_names


def check_parameters(request: Request, *known: str) -> None:
    """Refuse a parameter that a call does not have, or one given twice: which counts would be a guess.

    Raises:
        InvalidRequest: naming it.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    check_names(given, known, noun="parameter", whole="query")
    for name in given:
        if given.count(name) > 1:
            raise InvalidRequest(f"{name} is given {given.count(name)} times; give it once", field=name)
