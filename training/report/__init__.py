"""The study report: tables and figures of a StudyOutcome, as HTML and Markdown. Entry: compose.write_report."""
