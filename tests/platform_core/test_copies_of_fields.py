"""Each serializer has its own copies of the declared fields."""

import pytest
from rest_framework import serializers

from platform_core.api import Serializer, StringField, WholeField
from platform_core.api.queries import Query


class Loud(serializers.CharField):
    """A field with an object of its own, which DRF makes again for each copy."""

    def __init__(self, **kwargs):
        self.said = [[]]
        super().__init__(**kwargs)

    def to_representation(self, value):
        self.said[0].append(value)
        return value.upper()


class PartSerializer(Serializer):
    name = StringField(max_length=20)


class ThingSerializer(Serializer):
    name = StringField(max_length=20)
    number = WholeField(required=False)
    plain = serializers.CharField(required=False)
    kind = serializers.ChoiceField(choices=["a", "b"], required=False)
    loud = Loud(required=False)
    parts = PartSerializer(many=True, required=False)


class ThingQuery(Query):
    name = StringField(required=False)
    plain = serializers.CharField(required=False)


@pytest.mark.parametrize("name", ["name", "number", "plain", "kind", "loud", "parts"])
def test_a_change_of_one_serializer_is_not_seen_by_the_next(name):
    first = ThingSerializer(data={"name": "x"}).fields[name]
    first.required = not first.required
    first.validators.append(print)
    first.error_messages["required"] = "changed"
    second = ThingSerializer(data={"name": "x"}).fields[name]
    assert second.required is not first.required
    assert print not in second.validators
    assert second.error_messages["required"] != "changed"


def test_choices_of_one_serializer_are_not_those_of_the_next():
    ThingSerializer().fields["kind"].choices = ["c"]
    assert list(ThingSerializer().fields["kind"].choices) == ["a", "b"]


def test_a_field_of_an_unknown_class_is_made_again():
    first, second = (ThingSerializer({"name": "x", "loud": "hi"}) for _ in range(2))
    assert first.data["loud"] == "HI"
    assert first.fields["loud"].said == [["hi"]]
    assert second.fields["loud"].said == [[]]


def test_nested_serializers_are_copied_with_their_fields():
    first, second = (ThingSerializer(data={"name": "x", "parts": [{"name": "y"}]}) for _ in range(2))
    assert first.fields["parts"].child is not second.fields["parts"].child
    assert first.is_valid() and second.is_valid()


def test_fields_that_a_serializer_adds_are_not_kept():
    class More(ThingSerializer):
        def get_fields(self):
            return {**super().get_fields(), **({"more": StringField()} if self.context.get("more") else {})}

    assert "more" in More(context={"more": True}).fields
    assert "more" not in More().fields


def test_a_query_has_copies_too():
    first = ThingQuery(data={"name": "x", "plain": "y"}).fields
    first["plain"].error_messages["invalid"] = "changed"
    assert ThingQuery(data={"plain": "y"}).fields["plain"].error_messages["invalid"] != "changed"
