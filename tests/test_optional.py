"""An extra that isn't installed says how to get it; one that is broken says what broke."""

import json.decoder

import pytest

from jaxnn.optional import require


def test_an_installed_module_is_imported():
    assert require("json.decoder", extra="data") is json.decoder


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_a_missing_module_names_itself_and_the_remedy(module):
    with pytest.raises(ImportError, match=r'no_such_package.*: pip install "jaxnn\[plot\]"') as caught:
        require(module, extra="plot")
    assert caught.value.name == "no_such_package"


def test_a_module_missing_from_an_old_package_names_the_module():
    with pytest.raises(ImportError, match=r'json\.no_such_part is needed.*pip install "jaxnn\[data\]"'):
        require("json.no_such_part", extra="data")


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("raise ImportError('built for another NumPy')", "built for another NumPy"),
    ],
)
def test_a_module_that_is_there_and_fails_keeps_its_own_error(source, fault, tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=fault) as caught:
        require("broken_package", extra="data")
    assert "pip install" not in str(caught.value)
