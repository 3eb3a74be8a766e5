from .explanation import Explanation as Explanation, usual_mistake as usual_mistake
from .final import mistake_in_final_parameters as mistake_in_final_parameters
