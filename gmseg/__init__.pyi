from . import datasets as datasets
from .errors import InputError as InputError
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.metrics import dice as dice
from .evaluation.metrics import dice_labelled as dice_labelled
from .inference.segment import Segmentation as Segmentation
from .inference.segment import segment as segment
from .models.registry import Model as Model
from .models.registry import list_models as list_models
from .models.registry import load_model as load_model
from .models.registry import load_network as load_network
from .morphometry.areas import measure_mask as measure_mask

__version__: str
