"""lm-eval's own backend for models that read images, over a resident model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.hf_vlms import HFMultimodalLM
from transformers import LogitsProcessorList, PreTrainedModel, ProcessorMixin

from harness.engine.hf import CountNaN, ResidentLM


class ResidentVisionLM(ResidentLM, HFMultimodalLM):
    """`HFMultimodalLM` on a model that is loaded already; requests without images are `ResidentLM`'s.

    Args:
        model: the resident model, with whatever patch is in.
        processor: makes its inputs.
        batch_size: documents side by side.
        max_length: context in tokens, those that stand for images among them; None for the model's own.
    """

    def __init__(
        self, model: PreTrainedModel, processor: ProcessorMixin, batch_size: int, max_length: int | None = None
    ) -> None:
        own = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        super().__init__(model, processor, batch_size, max_length or own)  # type: ignore[arg-type]

    def _create_tokenizer(self, pretrained: Any, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        """lm-eval drops a processor that it is given."""
        self.processor, self.tokenizer = tokenizer, tokenizer.tokenizer
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generates; documents with images and those without are asked apart."""
        seeing = [i for i, r in enumerate(requests) if len(r.args) > 2]
        plain = [i for i, r in enumerate(requests) if len(r.args) == 2]
        out = [""] * len(requests)
        if plain:
            for i, text in zip(plain, super().generate_until([requests[i] for i in plain], disable_tqdm), strict=True):
                out[i] = text
        if seeing:
            fitting = [self._within_budget(requests[i]) for i in seeing]
            texts = HFMultimodalLM.generate_until(self, fitting, disable_tqdm)
            self.accounting.generated_tokens += sum(len(self.tok_encode(text)) for text in texts)
            for i, text in zip(seeing, texts, strict=True):
                out[i] = text
        return out

    def _within_budget(self, request: Instance) -> Instance:
        """The request with a limit that leaves room for a prompt.

        Raises:
            ValueError: for a prompt that does not fit: cut on the left it would lose its image.
        """
        prompt, settings, images = request.args
        settings, lowered = self.budget(settings)
        text = prompt if self.chat_applied else prompt.replace("<image>", self.image_token)
        pictures = list(images["visual"])
        length = len(self.processor(images=pictures, text=[text], return_tensors=None)["input_ids"][0])
        room = self.max_length - settings["max_gen_toks"]
        if length > room:
            raise ValueError(
                f"document {request.doc_id} of {request.task_name} has {length} tokens with those of its image, and "
                f"the context leaves {room}; lower task.max_gen_toks, or raise runtime.max_length"
            )
        self._count_prompt(length, settings["max_gen_toks"], lowered)
        return replace(request, arguments=(prompt, settings, images))

    def _model_multimodal_generate(self, inputs: Any, max_length: int, stop: list[str], **settings: Any) -> Any:
        self.cell_deadline.check()
        watch = LogitsProcessorList([CountNaN(self.accounting)])
        return super()._model_multimodal_generate(inputs, max_length, stop, logits_processor=watch, **settings)
