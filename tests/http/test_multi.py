"""MultiDict and Headers, each word of what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import pytest

from trews.http.multi import Headers, MultiDict, checked_pairs, pairs_of

PAIRS = [("a", "1"), ("b", "2"), ("a", "3")]
FIELDS = [("Accept", "text/html"), ("X-Two", "1"), ("accept", "*/*"), ("x-two", "2")]


@pytest.fixture
def multi():
    return MultiDict(PAIRS)


@pytest.fixture
def headers():
    return Headers(FIELDS)


# -- MultiDict


def test_of_several_values_the_first_is_the_one(multi):
    assert multi["a"] == "1"
    assert multi.get("a") == "1"


def test_get_all_has_them_in_order(multi):
    assert multi.get_all("a") == ["1", "3"]
    assert multi.get_all("c") == []


def test_get_all_is_a_list_of_ones_own(multi):
    multi.get_all("a").append("x")
    assert multi.get_all("a") == ["1", "3"]


def test_items_and_values_are_all(multi):
    assert multi.items() == PAIRS
    assert multi.values() == ["1", "2", "3"]
    multi.items().clear()
    assert multi.items() == PAIRS


def test_names_are_there_once(multi):
    assert list(multi) == list(multi.keys()) == ["a", "b"]
    assert len(multi) == 2
    assert dict(multi) == {"a": "1", "b": "2"}


def test_case_counts(multi):
    assert "A" not in multi
    with pytest.raises(KeyError, match="A"):
        multi["A"]


def test_what_is_not_there(multi):
    assert multi.get("c") is None
    assert multi.get("c", "x") == "x"
    with pytest.raises(KeyError, match="c"):
        multi["c"]
    assert 5 not in multi
    assert None not in multi


def test_nothing():
    assert not MultiDict()
    assert len(MultiDict()) == 0
    assert MultiDict().items() == []


@pytest.mark.parametrize("given", [{"a": "1", "b": "2"}, [("a", "1"), ("b", "2")], iter([("a", "1"), ("b", "2")])])
def test_what_it_is_made_of(given):
    assert MultiDict(given).items() == [("a", "1"), ("b", "2")]


def test_made_of_another_it_has_all_values(multi):
    assert MultiDict(multi).items() == PAIRS


def test_is_a_mutable_mapping(multi):
    assert isinstance(multi, MutableMapping)
    assert isinstance(multi, Mapping)


def test_set_takes_the_place_of_all(multi):
    multi["a"] = "9"
    assert multi.items() == [("a", "9"), ("b", "2")]
    multi["c"] = "4"
    assert multi.items()[-1] == ("c", "4")


def test_add_is_beside_them(multi):
    multi.add("b", "4")
    assert multi.get_all("b") == ["2", "4"]


def test_delete_removes_all(multi):
    del multi["a"]
    assert multi.items() == [("b", "2")]
    with pytest.raises(KeyError, match="a"):
        del multi["a"]


def test_setdefault_pop_update(multi):
    assert multi.setdefault("a", "x") == "1"
    assert multi.setdefault("c", "x") == "x"
    assert multi.pop("a") == "1"
    assert "a" not in multi
    multi.update({"b": "5"})
    assert multi["b"] == "5"
    multi.clear()
    assert multi.items() == []


def test_a_copy_is_on_its_own(multi):
    copied = multi.copy()
    copied.add("c", "4")
    assert type(copied) is MultiDict
    assert copied.items() == [*PAIRS, ("c", "4")]
    assert multi.items() == PAIRS


def test_equal_if_each_name_has_the_same_values():
    assert MultiDict(PAIRS) == MultiDict([("b", "2"), ("a", "1"), ("a", "3")])
    assert MultiDict(PAIRS) != MultiDict([("b", "2"), ("a", "3"), ("a", "1")])
    assert MultiDict([("a", "1")]) == {"a": "1"}
    assert MultiDict(PAIRS) != {"a": "1", "b": "2"}
    assert MultiDict(PAIRS) != PAIRS


def test_no_hash(multi):
    with pytest.raises(TypeError, match="unhashable"):
        hash(multi)


def test_repr_has_all(multi):
    assert repr(multi) == "MultiDict([('a', '1'), ('b', '2'), ('a', '3')])"
    assert eval(repr(multi)) == multi


# -- Headers


def test_fields_without_regard_to_case(headers):
    assert headers.get("ACCEPT") == headers["accept"] == headers["Accept"]
    assert "aCCept" in headers
    assert headers.get_all("X-TWO") == ["1", "2"]


def test_several_fields_are_one_list(headers):
    assert headers["Accept"] == "text/html, */*"
    assert headers.get("X-Two") == "1, 2"


def test_but_not_of_set_cookie():
    headers = Headers([("Set-Cookie", "a=1; Path=/"), ("set-cookie", "b=2")])
    assert headers["Set-Cookie"] == headers["SET-COOKIE"] == "a=1; Path=/"
    assert headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]


def test_names_are_as_they_were_first_sent(headers):
    assert list(headers) == ["Accept", "X-Two"]
    assert len(headers) == 2
    assert headers.items() == FIELDS


def test_a_field_is_set_whatever_its_case(headers):
    headers["ACCEPT"] = "x"
    assert headers.items() == [("ACCEPT", "x"), ("X-Two", "1"), ("x-two", "2")]


def test_a_field_is_deleted_whatever_its_case(headers):
    del headers["ACCEPT"]
    assert headers.items() == [("X-Two", "1"), ("x-two", "2")]
    with pytest.raises(KeyError, match="Accept"):
        del headers["Accept"]


def test_a_field_that_is_not_there(headers):
    with pytest.raises(KeyError, match="Nope"):
        headers["Nope"]
    assert headers.get("Nope", "x") == "x"


def test_equal_whatever_their_case(headers):
    assert headers == Headers([(name.upper(), value) for name, value in FIELDS])
    assert Headers([("A", "1")]) == {"a": "1"}


def test_the_copy_of_headers_is_headers(headers):
    assert type(headers.copy()) is Headers


def test_repr_of_headers():
    assert repr(Headers({"A": "1"})) == "Headers([('A', '1')])"


@pytest.mark.parametrize("fields", [{"a": "1"}, Headers({"a": "1"}), [("a", "1")]])
def test_pairs_of(fields):
    assert list(pairs_of(fields)) == [("a", "1")]


@pytest.mark.parametrize("fields", [None, 5, "A: b", b"A: b"])
def test_what_are_no_pairs(fields):
    with pytest.raises(TypeError, match=f"such as .*, not {type(fields).__name__}$"):
        pairs_of(fields)


@pytest.mark.parametrize("fields", [{"a": "1"}, Headers({"a": "1"}), [("a", "1")], iter([("a", "1")]), {("a", "1")}])
def test_checked_pairs(fields):
    assert checked_pairs(fields) == [("a", "1")]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (["A: b"], "not list with str in it"),
        (["AB"], "not list with str in it"),
        ({"A: b"}, "not set with str in it"),
        (("A", "b"), "not tuple with str in it"),
        ([("A", "b", "c")], "not list with tuple of 3 in it"),
        ([["A"]], "not list with list of 1 in it"),
        ({5: "a"}, "the name of a field is str or bytes, not int"),
    ],
)
def test_what_is_wrong_with_them(fields, says):
    with pytest.raises(TypeError, match=f"{says}$"):
        checked_pairs(fields)
