# Corrected resampled t: interval and test of ten fold differences, from the paper's equation 9 (Nadeau & Bengio 2003),
# by a linear model whose standard error is inflated. Rscript nadeau_bengio.R > nadeau_bengio.json, in this folder.
suppressMessages(library(jsonlite))
values <- c(0.031, -0.012, 0.054, 0.047, 0.008, 0.022, 0.071, -0.004, 0.036, 0.015)
n_test <- 12; n_train <- 48
fit <- summary(lm(values ~ 1))$coefficients
j <- length(values)
error <- fit[1, "Std. Error"] * sqrt(1 + j * n_test / n_train)
t <- fit[1, "Estimate"] / error
cat(toJSON(list(source = "nadeau_bengio.R: stats::lm with the corrected standard error",
                version = list(R = paste(R.version$major, R.version$minor, sep = ".")), values = values,
                n_test = n_test, n_train = n_train, mean = fit[1, "Estimate"], error = error,
                low = fit[1, "Estimate"] - qt(0.975, j - 1) * error, high = fit[1, "Estimate"] + qt(0.975, j - 1) * error,
                p = 2 * pt(-abs(t), j - 1)), auto_unbox = TRUE, digits = NA, pretty = TRUE), "\n")
