"""Fabrics by name: every figure has a source, and what `--interconnect` takes."""

import pytest

from fakerun.errors import UsageError
from fakerun.hardware.interconnects import interconnect_named, known_interconnects, parse_interconnect
from fakerun.hardware.request import hardware_with

REQUIRED = (
    *("ib-ndr-8x", "ib-hdr-8x", "aws-p4d", "aws-p5", "aws-p5e", "aws-p5en", "aws-p6-b200", "gcp-a3-high", "gcp-a3-mega", "gcp-a3-ultra"),
    *("azure-nd-a100-v4", "azure-nd-h100-v5", "azure-nd-h200-v5", "oci-a100", "oci-h100"),
)


def test_required_interconnects_are_known() -> None:
    assert set(REQUIRED) <= set(known_interconnects())


@pytest.mark.parametrize("name", known_interconnects())
def test_every_figure_has_a_source_that_is_written_out(name: str) -> None:
    for figure in interconnect_named(name).figures.values():
        assert " " in figure.source or "/" in figure.source
    assert interconnect_named(name).figures["nic_latency"].estimate, "no vendor publishes it"


@pytest.mark.parametrize("name", known_interconnects())
def test_plausible(name: str) -> None:
    figures = {key: figure.value for key, figure in interconnect_named(name).figures.items()}
    assert 50e9 <= figures["nics_per_node"] * figures["nic_bandwidth"] <= 800e9
    assert 5e-6 < figures["nic_latency"] < 1e-3


def test_it_replaces_the_nics_of_the_usual_node() -> None:
    hardware = hardware_with("h100-80gb", parse_interconnect("AWS-P5,nic_latency=80us"))
    node = hardware.interconnect
    assert (node.nics_per_node, node.nic_bytes_per_s) == (32, 12.5e9)
    assert node.nic_latency_s == pytest.approx(80e-6)
    assert (node.link, node.devices_per_node) == ("NVLink 4", 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ib-ndr", "unknown interconnect 'ib-ndr' (did you mean 'ib-ndr-8x' or 'ib-ndr-4x'"),
        ("tokenring", "unknown interconnect 'tokenring'; known: ib-ndr-8x, "),
        ("aws-p5,32", "interconnect 'aws-p5,32': '32' is not KEY=VALUE; give a name "),
        ("aws-p5,nic=32", "interconnect 'aws-p5,nic=32': unknown figure 'nic' (did you mean "),
        ("aws-p5,nic_bandwidth=32", "interconnect 'aws-p5,nic_bandwidth=32': nic_bandwidth: '32' is not a bandwidth"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_interconnect(text)
    assert str(error.value).startswith(message)
