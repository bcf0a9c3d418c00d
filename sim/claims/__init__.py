"""The statements of the reference document, each measured: found true, false or unknown, or said to be not built."""
