"""A tiny random model that reads images, from the loader to the table; pictures are made here."""

import json

import pytest
import torch
from transformers import LlavaForConditionalGeneration, Qwen3Config
from vision_support import bench, config, make

from harness.anatomy import Anatomy, Selector
from harness.config.specs import VariantSpec
from harness.models import ModelRef, load_base
from harness.patch import Patch
from harness.svf import SvfConfig
from harness.variants import Context, build
from harness.variants.experts import expert_folder
from harness.variants.injected import injected, modules_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="module")
def base(folder):
    return load_base(ModelRef("tiny-llava", str(folder / "model"), device="cpu"))


def test_the_parts_are_those_of_the_language_model(base):
    assert all(s.name.startswith(("model.language_model.", "lm_head.")) for s in base.anatomy.sites)
    assert base.anatomy.n_layers == 2
    assert (base.anatomy.n_heads, base.anatomy.n_kv_heads, base.anatomy.head_size) == (4, 2, 8)
    names = {n for n, _ in base.model.named_parameters() if ".mlp.fc" not in n and "vision_tower" not in n}
    told = {s.name for s in base.anatomy.sites}
    assert names - told == {n for n in names if "multi_modal_projector" in n}
    assert len(Selector(["mlp"]).resolve(base.anatomy)) == 2 * 3


def test_a_language_model_of_another_family_is_named(base):
    tokenizer = base.tokenizer
    model = LlavaForConditionalGeneration(config(tokenizer, Qwen3Config))
    with pytest.raises(ValueError, match=r"of this llava is of type 'qwen3'; known: llama, mistral, qwen2"):
        Anatomy.of(model)


def test_both_tasks_run_and_see_the_image(folder, tmp_path):
    """Texts are those of transformers' own generate; without the language model's last layer they are others."""
    made = bench(folder, tmp_path, "variants=[base,layers_removed]", "variant.layers=1:2")
    stored = {str(cell.name): made.evaluate(cell).result for cell in made.grid.cells}
    cell = made.grid.cells[0]
    result = stored[str(cell.name)]
    assert result.identity["backend"] == "hf-multimodal"
    assert result.n == 12
    assert len(result.identity["processor"]) == 64
    outcomes = made.store.outcomes(cell.name)
    base = made.base(cell.model)
    task = made.task(cell).subtasks["textvqa"]
    for outcome in outcomes[:4]:
        doc = task.eval_docs[outcome.doc_id]
        prompt = f"<image>{doc['question']}\nAnswer the question using a single word or phrase."
        inputs = base.processor(images=[doc["image"].convert("RGB")], text=[prompt], return_tensors="pt")
        with torch.no_grad():
            tokens = base.model.generate(**inputs, max_new_tokens=16, do_sample=False, pad_token_id=0)
        text = base.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :])
        for stop in ("\n", "ASSISTANT:", "USER:", base.tokenizer.eos_token):
            text = text.split(stop)[0]
        assert outcome.response == [[text]]
    other = made.store.outcomes(made.grid.cells[2].name)
    assert [o.response for o in other] != [o.response for o in outcomes]
    assert [o.document for o in other] == [o.document for o in outcomes]


@pytest.mark.slow
def test_documents_pair_in_another_process(folder, tmp_path):
    """lm-eval's hash of a document with an image holds its address in memory."""
    import subprocess
    import sys

    made = bench(folder, tmp_path / "one", "limit=3")
    cell = made.cell(made.grid.cells[0])
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path\n"
        "from vision_support import bench\n"
        f"made = bench(Path({str(folder)!r}), Path({str(tmp_path / 'two')!r}), 'limit=3')\n"
        "made.evaluate(made.grid.cells[0])\n"
        "import json; print(json.dumps([o.document for o in made.store.outcomes(made.grid.cells[0].name)]))\n"
        "print(made.cell(made.grid.cells[0]).digest)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    made.evaluate(made.grid.cells[0])
    here = [list(o.document) for o in made.store.outcomes(made.grid.cells[0].name)]
    assert json.loads(out[-2]) == here
    assert out[-1] == cell.digest


def test_an_image_that_does_not_fit_is_an_error(folder, tmp_path):
    made = bench(folder, tmp_path, "limit=2", "runtime.max_length=24")
    with pytest.raises(ValueError, match="tokens with those of its image, and the context leaves 8"):
        made.evaluate(made.grid.cells[0])


def test_svf_adapts_the_language_model_only(base, tmp_path):
    with injected(base, SvfConfig(target_modules=list(modules_of(base, ["mlp"], None)), init=0.9)) as adapted:
        assert all("language_model" in name for name in adapted.base_model.layers())
        assert len(adapted.base_model.layers()) == 6
        adapted.save_pretrained(tmp_path / "z")
    from harness.config.variants import AdapterVariant

    patch = build(base, VariantSpec("a", "adapter", AdapterVariant(path=str(tmp_path / "z"))), Context(lambda n: None))
    before = {n: p.clone() for n, p in base.model.named_parameters()}
    for name, tensor in patch.tensors.items():
        torch.testing.assert_close(tensor, 0.9 * before[name], atol=1e-5, rtol=1e-4)
    assert isinstance(patch, Patch)


def test_the_z_of_a_language_model_goes_into_one_that_sees(base, tmp_path):
    """By part and layer: the modules have other names."""
    from conftest import tiny

    from harness.config.specs import compose_variant
    from harness.config.variants import AdapterVariant
    from harness.models import Base, fingerprint
    from harness.variants.tuned import keep

    model = tiny("llama", num_hidden_layers=2)
    plain = Base(ModelRef("tiny", "nowhere"), model, base.tokenizer, Anatomy.of(model), fingerprint(model))
    with injected(plain, SvfConfig(target_modules=list(modules_of(plain, ["mlp"], None)), init=1.2)) as adapted:
        keep(adapted, tmp_path / "z", {"parameters": 192, "seed": 0})
    spec = compose_variant("transfer", None, {"source": "lab-base"})[0]  # the name is not looked at here
    spec.config.expert = VariantSpec("z", "adapter", AdapterVariant(path=str(tmp_path / "z")))
    context = Context(lambda name: None, patches=tmp_path / "patches", base=lambda name: plain)
    patch = build(base, spec, context)
    assert set(patch.tensors) == {f"{m}.weight" for m in modules_of(base, ["mlp"], None)}
    name = "model.language_model.layers.1.mlp.up_proj.weight"
    torch.testing.assert_close(patch.tensors[name], 1.2 * base.model.get_parameter(name), atol=1e-5, rtol=1e-4)
    assert expert_folder(base, spec, context).name.startswith("transfer-")
