# ICC(A,1) = ICC(2,1) and its 95% interval of a few features by psych::ICC (Revelle; analysis of variance, limits by
# the F-based formula of Shrout and Fleiss 1979). Run: Rscript icc.R > icc.json
suppressPackageStartupMessages({library(psych); library(jsonlite)})
set.seed(7)
cases <- list()
add <- function(name, x) {
  found <- ICC(x, lmer = FALSE, alpha = 0.05)$results
  found <- found[found$type == "ICC2", ]
  cases[[length(cases) + 1]] <<- list(name = name, readings = unname(as.matrix(x)), value = found$ICC,
    low = found[["lower bound"]])
}
shrout <- matrix(c(9,2,5,8, 6,1,3,2, 8,4,6,8, 7,1,2,6, 10,5,6,9, 6,2,4,7), ncol = 4, byrow = TRUE)
add("Shrout and Fleiss 1979, table 2", shrout)
truth <- rnorm(30)
add("30 units, two readings, close", cbind(truth + rnorm(30, 0, 0.2), truth + rnorm(30, 0, 0.2)))
add("30 units, two readings, an offset", cbind(truth + rnorm(30, 0, 0.2), 1 + truth + rnorm(30, 0, 0.2)))
add("25 units, three readings, poor", matrix(truth[1:25] * 0.5, 25, 3) + matrix(rnorm(75), 25, 3))
add("12 units, two readings, none", matrix(rnorm(24), 12, 2))
add("large numbers", 1e6 * cbind(5 + truth + rnorm(30, 0, 0.3), 5 + truth + rnorm(30, 0, 0.3)))
cat(toJSON(list(source = "psych::ICC, type ICC2",
  versions = list(R = as.character(getRversion()), psych = as.character(packageVersion("psych"))),
  cases = cases), digits = 15, auto_unbox = TRUE, pretty = TRUE))
