import pickle

import pytest

from restore import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.RestoreError)
]
GRPC_CODES = {
    "CANCELLED",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "DATA_LOSS",
}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_maps_to_codes_and_survives_a_process_border(kind):
    error = kind("7 came", "8", "Give 8.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "7 came; expected 8. Give 8."
    assert kind.grpc_code in GRPC_CODES
    assert kind.exit_code in (1, 2, 130)
