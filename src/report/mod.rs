//! Figures, tables, the HTML page.
