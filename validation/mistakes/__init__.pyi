from .catalogue import usual_mistake as usual_mistake
