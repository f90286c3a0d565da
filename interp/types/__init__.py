"""The nouns of the toolkit: plain records without logic, passed from stage to stage.

Axis vocabulary of every array: prompt, pair, token, layer, head, culture, d_model, d_sae, set, sample, strength.
Accuracies are in percent, intervals are 95 %, layers and token positions count from 0, a span is [start, end) in
characters.
"""

from interp.types.latents import Caption as Caption
from interp.types.latents import Codes as Codes
from interp.types.latents import Histogram as Histogram
from interp.types.latents import Neurons as Neurons
from interp.types.latents import NeuronSet as NeuronSet
from interp.types.latents import Piece as Piece
from interp.types.latents import Profile as Profile
from interp.types.latents import SaeRef as SaeRef
from interp.types.latents import Site as Site
from interp.types.latents import SiteKind as SiteKind
from interp.types.measures import UNRECOGNISABLE as UNRECOGNISABLE
from interp.types.measures import Arm as Arm
from interp.types.measures import Comparison as Comparison
from interp.types.measures import Effect as Effect
from interp.types.measures import Interval as Interval
from interp.types.measures import LayerScores as LayerScores
from interp.types.measures import Measure as Measure
from interp.types.measures import Measured as Measured
from interp.types.measures import Sweep as Sweep
from interp.types.prompts import Prompt as Prompt
from interp.types.prompts import PromptPair as PromptPair
from interp.types.prompts import Sample as Sample
from interp.types.prompts import Span as Span
from interp.types.prompts import direction as direction
from interp.types.record import RECORD as RECORD
from interp.types.results import Density as Density
from interp.types.results import JudgeErrors as JudgeErrors
from interp.types.results import Matrix as Matrix
from interp.types.results import MeasureRow as MeasureRow
from interp.types.results import SaeFigures as SaeFigures
from interp.types.results import Variant as Variant
