"""The synapse in the browser computes what the Python does."""

import json
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from disinhib.experiments.paper.plasticity_curves import LinearThreshold, circuit, isolated

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "docs" / "_static" / "synapse.js"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def in_javascript(expression):
    """Value of an expression over `synapse`, the page's functions; numbers come whole."""
    code = (
        f"const synapse = require({json.dumps(str(SCRIPT))});"
        f"console.log(JSON.stringify({expression}));"
    )
    done = subprocess.run([NODE, "-e", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", [None, LinearThreshold(), LinearThreshold(0.9, 1.8)])
@pytest.mark.parametrize("target", [None, 3.0, 4.0])
def test_curves_of_the_circuit(target, line):
    x = np.linspace(0, 13, 53)
    lines = [line and {"theta": line.theta, "delta": line.delta}]
    arguments = ", ".join(json.dumps(one) for one in (x.tolist(), target, lines))
    (found,) = in_javascript(f"synapse.circuit({arguments})")
    expected = circuit(x, target, line)
    # Two exponentials may differ by their last digit; 600 steps towards rest do not amplify that.
    np.testing.assert_allclose(found["rate"], expected.rate, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["dw"], expected.dw, rtol=0, atol=1e-9)


@pytest.mark.parametrize("line", [None, LinearThreshold()])
@pytest.mark.parametrize("r_I", [0.01, 0.67, 2.0])
def test_curves_of_the_isolated_neuron(r_I, line):
    x = np.linspace(0, 10, 41)
    lines = [line and {"theta": line.theta, "delta": line.delta}]
    arguments = ", ".join(json.dumps(one) for one in (x.tolist(), r_I, lines))
    (found,) = in_javascript(f"synapse.isolated({arguments})")
    expected = isolated(x, r_I, line)
    np.testing.assert_allclose(found["rate"], expected.rate, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["dw"], expected.dw, rtol=0, atol=1e-9)


@pytest.mark.parametrize("target", [None, 3.0, 4.0])
def test_curves_of_the_published_implementation(target):
    with h5py.File(ROOT / "tests" / "golden" / "plasticity.h5") as file:
        golden = file[f"rossbroich2023/exact/target_{target}"]
        x, dw = golden["x"][:], golden["dw"][:]
    (found,) = in_javascript(f"synapse.circuit({x.tolist()}, {json.dumps(target)}, [null])")
    np.testing.assert_allclose(found["dw"], dw, rtol=0, atol=1e-9)


def test_changes_of_sign():
    curve = circuit(np.linspace(0, 13, 261), None, LinearThreshold())
    given = json.dumps({"rate": curve.rate.tolist(), "dw": curve.dw.tolist()})
    found = in_javascript(f"synapse.signChanges({given})")
    expected = curve.changes()
    assert [one["toPotentiation"] for one in found] == [one.to_potentiation for one in expected]
    np.testing.assert_allclose(
        [one["rate"] for one in found], [one.rate for one in expected], rtol=0, atol=1e-9
    )


def test_the_range_of_inputs():
    np.testing.assert_allclose(in_javascript("synapse.range(13, 261)"), np.linspace(0, 13, 261))
