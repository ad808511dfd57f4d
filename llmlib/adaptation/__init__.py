"""Adaptation: from a model that goes on with texts to one that answers (Chapter 12).

>>> from llmlib.adaptation import ChatTemplate, add_lora, answer_loss, exchange, pad_conversations
>>> add_lora(model, ["query", "value"], rank=8)
>>> template = ChatTemplate()
>>> rows = pad_conversations([template.encode(exchange("Who?", "I."), tokenizer)], 64, pad_id=0)
>>> train(model, rows, TrainConfig(steps=30, optimizer="adamw"), objective=answer_loss)
"""

from llmlib.adaptation.chat import ChatTemplate, Conversation, Encoded, Message, exchange
from llmlib.adaptation.llama_adapter import AdaptedAttention, adapter_parameters, add_llama_adapter
from llmlib.adaptation.lora import LoRALinear, add_lora, lora_layers, merge, remove_lora, unmerge
from llmlib.adaptation.lora_files import load_lora, save_lora
from llmlib.adaptation.rouge import rouge_l
from llmlib.adaptation.self_instruct import Pool, Task, self_instruct
from llmlib.adaptation.sft import answer_loss, pack_conversations, pad_conversations, reply

__all__ = [
    "AdaptedAttention",
    "ChatTemplate",
    "Conversation",
    "Encoded",
    "LoRALinear",
    "Message",
    "Pool",
    "Task",
    "adapter_parameters",
    "add_llama_adapter",
    "add_lora",
    "answer_loss",
    "exchange",
    "load_lora",
    "lora_layers",
    "merge",
    "pack_conversations",
    "pad_conversations",
    "remove_lora",
    "reply",
    "rouge_l",
    "save_lora",
    "self_instruct",
    "unmerge",
]
