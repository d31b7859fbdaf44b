// SPDX-License-Identifier: ISC
// Result<T>: returned by functions that may fail; it cannot be ignored.
//
//     Result<Config> config = parse(text);
//     if (!config)
//         return config.error();
//     use(*config);
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace encsync {

// Why something failed, as one line for users (no newline, no trailing full stop).
struct Error {
    std::string text;
};

template<class T>
class [[nodiscard]] Result {
  public:
    Result(T value) : value_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : value_(std::in_place_index<1>, std::move(error)) {}

    explicit operator bool() const { return value_.index() == 0; }
    T& operator*() { return *std::get_if<0>(&value_); }
    const T& operator*() const { return *std::get_if<0>(&value_); }
    T* operator->() { return std::get_if<0>(&value_); }
    const T* operator->() const { return std::get_if<0>(&value_); }
    const Error& error() const { return *std::get_if<1>(&value_); }

  private:
    std::variant<T, Error> value_;
};

template<>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::move(error)), ok_(false) {}

    explicit operator bool() const { return ok_; }
    const Error& error() const { return error_; }

  private:
    Error error_;
    bool ok_ = true;
};

} // namespace encsync
