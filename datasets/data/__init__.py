"""Files of the embedded dataset; `disinhib.datasets.digits` reads them."""
