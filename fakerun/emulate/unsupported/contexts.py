"""The emulations of what is not supported: they need nothing of the device, which needs the gaps."""

from fakerun.emulate.unsupported.kernel_log import silenced_kernel_log
from fakerun.emulate.unsupported.missing_apis import missing_apis

CONTEXTS = (missing_apis, silenced_kernel_log)
