"""Training: one loop, from a notebook to several GPUs (Chapter 3).

>>> from llmlib.training import Blocks, TrainConfig, train
>>> history = train(model, Blocks(rows, held_out), TrainConfig(seconds=60))  # doctest: +SKIP
"""

from llmlib.training.blank_infilling import BlankInfilling, Blanks, blank_infilling
from llmlib.training.checkpoint import load_weights
from llmlib.training.config import TrainConfig
from llmlib.training.data import Blocks
from llmlib.training.history import EvaluationRecord, History, StepRecord
from llmlib.training.lengths import loss_by_position, perplexity_by_length
from llmlib.training.loop import TrainingDivergedError, train
from llmlib.training.masked_tokens import IGNORED, MaskedTokens, mlm_mask
from llmlib.training.objective import next_token_loss
from llmlib.training.optimizers import matrices
from llmlib.training.schedule import SCHEDULES, learning_rate_factor
from llmlib.training.spans import draw_spans
from llmlib.training.text_infilling import Denoising, text_infilling

__all__ = [
    "IGNORED",
    "SCHEDULES",
    "BlankInfilling",
    "Blanks",
    "Blocks",
    "Denoising",
    "EvaluationRecord",
    "History",
    "MaskedTokens",
    "StepRecord",
    "TrainConfig",
    "TrainingDivergedError",
    "blank_infilling",
    "draw_spans",
    "learning_rate_factor",
    "load_weights",
    "loss_by_position",
    "matrices",
    "mlm_mask",
    "next_token_loss",
    "perplexity_by_length",
    "text_infilling",
    "train",
]
