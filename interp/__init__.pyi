# The public names, each from the file that defines it: the one list, which type checkers and `interp/__init__.py` read.

from .activations.find_layers import find_layers as find_layers
from .errors import InterpError as InterpError
from .errors import InterpWarning as InterpWarning
from .experiments.draw import draw as draw
from .experiments.inputs import benchmark as benchmark
from .experiments.inputs import load as load
from .experiments.layer_images import scan_pictures as scan_pictures
from .experiments.run import Steered as Steered
from .experiments.run import ablate as ablate
from .experiments.run import amplify as amplify
from .experiments.run import enhance as enhance
from .experiments.run import off_target as off_target
from .experiments.run import steer as steer
from .experiments.run import sweep as sweep
from .experiments.run import tune_strength as tune_strength
from .experiments.run import wake as wake
from .hub.load import load_enhancer as load_enhancer
from .hub.load import load_neurons as load_neurons
from .hub.load import load_sae as load_sae
from .hub.publish import publish as publish
from .interventions.edits import Amplify as Amplify
from .interventions.edits import Enhance as Enhance
from .interventions.edits import Mask as Mask
from .interventions.edits import Plan as Plan
from .interventions.edits import Steer as Steer
from .interventions.enhancer_training import EnhancerSettings as EnhancerSettings
from .interventions.enhancer_training import train_enhancer as train_enhancer
from .interventions.generate import edited as edited
from .interventions.generate import encode as encode
from .interventions.generate import generate as generate
from .latents.find import find_neurons as find_neurons
from .latents.find import train_sae as train_sae
from .latents.sae_training import SaeSettings as SaeSettings
from .latents.scores import Rule as Rule
from .metrics.compare import compare as compare
from .metrics.evaluate import measure as measure
from .types import Comparison as Comparison
from .types import Effect as Effect
from .types import LayerScores as LayerScores
from .types import Measured as Measured
from .types import Neurons as Neurons
from .types import NeuronSet as NeuronSet
from .types import Site as Site
from .types import Sweep as Sweep

__version__: str
