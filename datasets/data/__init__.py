"""Files of the embedded dataset; `disinhib.datasets.load` reads them."""
