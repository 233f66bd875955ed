"""The only code that knows a wire: OpenNebula's oned (XML-RPC) and oneflow (REST)."""
