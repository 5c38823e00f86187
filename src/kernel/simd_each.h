/* Includes RT_SELF twice, as a template over the dtype: element is its C type, get(p, i) loads a float, out_begin and
 * out_end store (simd_isa.h), RT_EACH(name) is the function's name. No include guard: included once by every simd_*.c
 * that has LOOPS. */
#define element float
#define get f32_get
#define out_begin f32_out_begin
#define out_end f32_out_end
#define RT_EACH(name) RT_NAME(name##_f32)
#include RT_SELF
#undef element
#undef get
#undef out_begin
#undef out_end
#undef RT_EACH

#define element uint16_t
#define get bf16_get
#define out_begin bf16_out_begin
#define out_end bf16_out_end
#define RT_EACH(name) RT_NAME(name##_bf16)
#include RT_SELF
#undef element
#undef get
#undef out_begin
#undef out_end
#undef RT_EACH
