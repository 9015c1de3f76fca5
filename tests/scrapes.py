"""Reads responses of `/metrics`."""

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one response."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def all(self, name: str, **labels: str) -> list[float]:
        """The values of all samples with this name and at least these labels."""
        return [each.value for each in self.samples if each.name == name and labels.items() <= each.labels.items()]

    def one(self, name: str, **labels: str) -> float:
        (value,) = self.all(name, **labels)
        return value

    def sum(self, name: str, **labels: str) -> float:
        return sum(self.all(name, **labels))
