/* SPDX-License-Identifier: Apache-2.0 */
/* Linked with the program's own main, so that checks of whole runs have a device whose memory the
 * host cannot address: device.type: cuda. */
#include "device/apart/apart.h"

__attribute__((constructor)) static void use_apart(void)
{
    apart_device_use(APART_EAGER, 0);
}
