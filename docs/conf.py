"""How the site is made; `make docs` runs it."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "disinhib"
author = "The disinhib developers"
copyright = author
version = release = installed_version("disinhib")
language = "en-GB"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    # Our own, beside this file.
    "mathml",
    "source_pages",
    "settings_page",
    "commands_page",
    "interface_page",
]
exclude_patterns = ["extensions"]

# Pages.
myst_enable_extensions = ["dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 4
myst_number_code_blocks = []
suppress_warnings = [
    # Headings of results.md and files.md begin at whatever level reads well on GitHub.
    "myst.header",
]

# Docstrings: NumPy's form; a word in single backticks is code.
default_role = "code"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_rtype = False

# Every reference must lead somewhere. Types that other packages or plain words name ("array, (n,)")
# lead nowhere without a network, and are let be.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!disinhib\.).*")]

# Nothing is fetched, by the build or by a reader's browser.
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "disinhib"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# A column of a section's pages only where there is a section.
html_sidebars = {"*": []}
html_theme_options = {
    "logo": {"text": "disinhib"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "show_toc_level": 2,
}
copybutton_exclude = ".linenos, .gp, .go"
