"""Networks written here because no library has them; each loads its published state dict."""
