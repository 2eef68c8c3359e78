/* SPDX-License-Identifier: Apache-2.0 */
/* Datasets of one extent: making them, and looking at what a file says of one. */
#include "h5/dataset.h"

#include "h5/private.h"

hid_t h5_type_create(enum zi_dtype type)
{
    if (type == ZI_INT32) return H5Tcopy(H5T_STD_I32LE);
    hid_t made = H5Tcopy(H5T_IEEE_F32LE);
    if (type == ZI_FP32 || made < 0) return made;
    /* sign at bit 15, then exponent, and mantissa from bit 0: 8 and 7 bits, of fp16 5 and 10 */
    size_t exponent = type == ZI_FP16 ? 5 : 8, mantissa = 15 - exponent;
    if (H5Tset_fields(made, 15, mantissa, exponent, 0, mantissa) < 0 ||
        H5Tset_precision(made, 16) < 0 || H5Tset_size(made, 2) < 0 ||
        H5Tset_ebias(made, type == ZI_FP16 ? 15 : 127) < 0) {
        H5Tclose(made);
        return -1;
    }
    return made;
}

int h5_type_is(hid_t type, enum zi_dtype wanted)
{
    hid_t other = h5_type_create(wanted);
    if (other < 0) return 0;
    int equal = H5Tequal(type, other) > 0;
    H5Tclose(other);
    return equal;
}

static hid_t creation_open(void)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    if (creation < 0) return -1;
    if (H5Pset_layout(creation, H5D_CONTIGUOUS) < 0 ||
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) < 0 ||
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) < 0 ||
        H5Pset_obj_track_times(creation, 0) < 0) {
        H5Pclose(creation);
        return -1;
    }
    return creation;
}

static hid_t space_open(int dimensions, const int64_t *shape)
{
    hsize_t extents[H5S_MAX_RANK];
    for (int d = 0; d < dimensions; d++)
        extents[d] = (hsize_t)shape[d];
    return H5Screate_simple(dimensions, extents, NULL);
}

hid_t h5_extent_create(hid_t parent, const char *name, hid_t type, int dimensions,
                       const int64_t *shape, int64_t *offset)
{
    hid_t space = space_open(dimensions, shape), creation = creation_open();
    hid_t link = H5Pcreate(H5P_LINK_CREATE), made = -1;
    if (space >= 0 && creation >= 0 && link >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0)
        made = H5Dcreate2(parent, name, type, space, link, creation, H5P_DEFAULT);
    if (link >= 0) H5Pclose(link);
    if (creation >= 0) H5Pclose(creation);
    if (space >= 0) H5Sclose(space);
    if (made < 0) return -1;
    *offset = h5_offset_read(made);
    if (*offset >= 0) return made;
    H5Dclose(made);
    return h5_refuse("%s has got no place in the file", name);
}

/* How a dataset lies in its file; an error for one that does not, or not all of it. */
static H5D_layout_t layout_of(hid_t dataset)
{
    hid_t creation = H5Dget_create_plist(dataset);
    if (creation < 0) return H5D_LAYOUT_ERROR;
    H5D_layout_t layout = H5Pget_layout(creation);
    if (H5Pget_external_count(creation) != 0) layout = H5D_LAYOUT_ERROR;
    H5Pclose(creation);
    return layout;
}

int h5_is_own(hid_t dataset)
{
    H5D_layout_t layout = layout_of(dataset);
    return layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED || layout == H5D_COMPACT;
}

int h5_is_extent(hid_t dataset)
{
    return layout_of(dataset) == H5D_CONTIGUOUS;
}

int64_t h5_offset_read(hid_t dataset)
{
    haddr_t offset = H5Dget_offset(dataset);
    return offset > (haddr_t)INT64_MAX ? -1 : (int64_t)offset; /* HADDR_UNDEF is all ones */
}

/* Multiplies extents that HDF5 gives as unsigned numbers of 64 bits. */
static int shape_convert(const hsize_t *extents, int dimensions, int64_t *shape, int64_t *elements)
{
    *elements = 1;
    for (int d = 0; d < dimensions; d++) {
        if (extents[d] > (hsize_t)H5_ELEMENTS_MOST) return -1;
        shape[d] = (int64_t)extents[d];
        if (__builtin_mul_overflow(*elements, shape[d], elements)) return -1;
        if (*elements > H5_ELEMENTS_MOST) return -1;
    }
    return dimensions;
}

int h5_shape_read(hid_t dataset, int most, int64_t *shape, int64_t *elements)
{
    hsize_t extents[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset);
    if (space < 0) return -1;
    int dimensions = H5Sget_simple_extent_ndims(space);
    int known = dimensions >= 0 && H5Sget_simple_extent_type(space) != H5S_NULL &&
                H5Sget_simple_extent_dims(space, extents, NULL) == dimensions;
    H5Sclose(space);
    if (!known || dimensions > most)
        return h5_refuse("it has %d dimensions, not %d at most", dimensions, most);
    if (shape_convert(extents, dimensions, shape, elements) < 0)
        return h5_refuse("its extents are beyond what a file can hold");
    return dimensions;
}
