"""Archives: slides by the thousand, classified by Ray on one machine or on many, into a Parquet dataset.

Needs the extra `archive`; nothing else of cartcls imports it.
"""
